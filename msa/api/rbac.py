"""rbac.authorization.k8s.io/v1 Role and RoleBinding, as wire types."""

from typing import Final

from msgspec import Raw, Struct

from msa.api.meta import ObjectMeta

GROUP: Final = "rbac.authorization.k8s.io"


class Rule(Struct, frozen=True, gc=False, rename="camel", omit_defaults=True):
    """What may be done with what."""

    api_groups: tuple[str, ...] = ()
    resources: tuple[str, ...] = ()
    resource_names: tuple[str, ...] = ()
    verbs: tuple[str, ...] = ()


class Role(Struct, frozen=True, gc=False):
    metadata: ObjectMeta
    rules: tuple[Rule, ...] = ()


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


class StoredRole(Struct, frozen=True, gc=False):
    """A Role as it comes over the wire; its lists may be null, where somebody emptied them."""

    metadata: ObjectMeta
    rules: Raw = Raw(b"[]")


class StoredRoleBinding(Struct, frozen=True, gc=False, rename="camel"):
    """A RoleBinding as it comes over the wire, as above."""

    metadata: ObjectMeta
    role_ref: RoleRef = RoleRef()
    subjects: Raw = Raw(b"[]")
