"""rbac.authorization.k8s.io/v1 RoleBinding, as a wire type."""

from typing import Final

from msgspec import Raw, Struct

from msa.api.meta import ObjectMeta

GROUP: Final = "rbac.authorization.k8s.io"


class RoleRef(Struct, frozen=True, gc=False, rename="camel"):
    api_group: str = ""
    kind: str = ""
    name: str = ""


class RbacSubject(Struct, frozen=True, gc=False, rename="camel", omit_defaults=True):
    """Who: a user, a group or a ServiceAccount."""

    kind: str = ""
    api_group: str = ""
    name: str = ""
    namespace: str = ""


class RoleBinding(Struct, frozen=True, gc=False, rename="camel"):
    metadata: ObjectMeta
    role_ref: RoleRef = RoleRef()
    subjects: tuple[RbacSubject, ...] = ()


class StoredRoleBinding(Struct, frozen=True, gc=False, rename="camel"):
    """A RoleBinding as it comes over the wire; its subjects may be null, where somebody removed all of them."""

    metadata: ObjectMeta
    role_ref: RoleRef = RoleRef()
    subjects: Raw = Raw(b"[]")
