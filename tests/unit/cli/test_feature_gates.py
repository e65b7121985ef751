"""What --feature-gates takes."""

import pytest
from click import BadParameter

from msa.cli.options import Gates
from msa.policy.gates import FeatureGates


@pytest.mark.parametrize(
    ("text", "gates"),
    [
        ("", FeatureGates()),
        ("EphemeralIdentity=true", FeatureGates(ephemeral_identity=True)),
        ("ClusterProfile=true,EphemeralIdentity=false", FeatureGates(cluster_profile=True)),
        (
            "ClusterProfileCredSyncer=true",
            FeatureGates(cluster_profile=True, renamed=("ClusterProfileCredSyncer",)),
        ),
    ],
)
def test_gates_are_taken_by_their_names_and_by_those_of_the_go_addons_chart_0_10(
    text: str, gates: FeatureGates
) -> None:
    assert Gates().convert(text, None, None) == gates


def test_a_gate_that_nobody_knows_is_refused_by_its_name() -> None:
    with pytest.raises(BadParameter, match="unknown feature gate 'Typo'"):
        Gates().convert("Typo=true", None, None)
