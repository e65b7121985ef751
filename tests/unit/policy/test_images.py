import pytest

from msa.api.addon import ImageMirror
from msa.policy.images import mirrored, parse_mirrors

IMAGE = "quay.io/open-cluster-management/managed-serviceaccount:v1"


def mirror(source: str, target: str) -> ImageMirror:
    return ImageMirror(mirror=target, source=source)


@pytest.mark.parametrize(
    ("mirrors", "expected"),
    [
        ([], IMAGE),
        ([mirror("quay.io/open-cluster-management", "quay.io/ocm")], "quay.io/ocm/managed-serviceaccount:v1"),
        (
            [mirror("quay.io/open-cluster-management/", "quay.io/ocm/")],
            "quay.io/ocm/managed-serviceaccount:v1",
        ),
        ([mirror("quay.io", "host:5000")], "host:5000/open-cluster-management/managed-serviceaccount:v1"),
        ([mirror("quay.io/open-cluster-management/managed-serviceaccount", "m/sa")], "m/sa:v1"),
        ([mirror(IMAGE, "m/sa:v2")], "m/sa:v2"),
        ([mirror("", "host/all")], "host/all/managed-serviceaccount:v1"),
        ([mirror("", "")], "managed-serviceaccount:v1"),
        ([mirror("docker.io", "host")], IMAGE),
        ([mirror("open-cluster-management", "host")], IMAGE),
        (
            [mirror("quay.io", "first"), mirror("quay.io/open-cluster-management", "last")],
            "last/managed-serviceaccount:v1",
        ),
        (
            [mirror("quay.io/open-cluster-management", "first"), mirror("quay.io", "last")],
            "last/open-cluster-management/managed-serviceaccount:v1",
        ),
        (
            [mirror("quay.io/open-cluster-management", "ours"), mirror("docker.io", "other")],
            "ours/managed-serviceaccount:v1",
        ),
        (
            [mirror("quay.io", "docker.io"), mirror("docker.io", "other")],
            "docker.io/open-cluster-management/managed-serviceaccount:v1",
        ),
        ([mirror("quay.io", "a"), mirror("", "b")], "b/managed-serviceaccount:v1"),
    ],
    ids=[
        "no mirror changes nothing",
        "a mirror takes the place of a prefix",
        "a slash at the end makes no difference",
        "a mirror of a whole registry keeps the path",
        "a mirror of one image keeps the tag",
        "a mirror of one image and tag replaces both",
        "an empty source stands for all before the last segment",
        "an empty mirror for an empty source leaves the name",
        "another registry's mirror changes nothing",
        "a source from the middle of the name changes nothing",
        "of two that match the last one wins",
        "of two that match the last one wins though it is shorter",
        "one that does not match does not undo one that does",
        "mirrors are no chain",
        "an empty source after another wins too",
    ],
)
def test_the_last_mirror_that_matches_replaces_a_prefix(mirrors: list[ImageMirror], expected: str) -> None:
    assert mirrored(IMAGE, mirrors) == expected


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        ("quay.io/a/b@sha256:0123", "host/b@sha256:0123"),
        ("host:5000/b:v1", "host/b:v1"),
        ("b", "host/b"),
    ],
)
def test_an_empty_source_keeps_name_tag_and_digest(image: str, expected: str) -> None:
    assert mirrored(image, [mirror("", "host")]) == expected


def test_the_annotations_mirrors_are_read_in_order() -> None:
    text = '{"registries":[{"source":"a","mirror":"b"},{"mirror":"c"}],"imagePullSecret":"x"}'
    assert parse_mirrors(text) == (mirror("a", "b"), mirror("", "c"))


@pytest.mark.parametrize("text", ["", "{}", '{"registries":[]}'])
def test_an_annotation_without_registries_has_no_mirrors(text: str) -> None:
    assert parse_mirrors(text) == ()


@pytest.mark.parametrize(
    "text",
    [
        "x",
        "[]",
        "null",
        '{"registries":{}}',
        '{"registries":["a"]}',
        '{"registries":[{"source":1}]}',
        '{"a":' + "[" * 100_000,
    ],
    ids=[
        "no JSON",
        "a list",
        "null",
        "an object for a list",
        "texts for mirrors",
        "a number for a source",
        "nested too deeply",
    ],
)
def test_an_annotation_that_cannot_be_meant_is_a_value_error(text: str) -> None:
    with pytest.raises(ValueError, match=r"JSON|Expected|truncated"):
        parse_mirrors(text)
