"""Generated operations over the zoo schema."""

import asyncio
from random import Random

import pytest
from graphql import parse, validate
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis_graphql import nodes, queries

from tests.fuzz.operations import Operation
from tests.graph.compiler.differential import Case, assert_same
from tests.graph.compiler.rewriting import scattered
from tests.graph.compiler.zoo import zoo
from tests.support.examples import examples

# Random or exhaustive cases: others cover the code, and coverage doubles their time.
pytestmark = pytest.mark.no_cover

# A subset, so that generated operations have several fields and mostly non-null results.
_KEPT = """name size tags colour absent methodLater broken told toldLater record
goodText faultText codedText laterText laterRaisedText raisingText raisingTextSure laterNoneTextSure
faultTextMany laterFaultTextManySure goodItem laterItem mostlyLaterItem goodItemMany laterItemMany
goodItemSure goodItemManySure faultItemMany goodItemGridSure laterItemSureManySure
asyncOfGoodItemMany generatorOfLaterItemMany halfWayOfLaterItemMany
manyAsNamed manyAsPet manyAsThing catAsLegged"""
KEPT = frozenset(_KEPT.split())
SCHEMA = zoo(KEPT.__contains__)
SCALARS = {
    "Odd": st.integers(-9, 9).map(nodes.Int),
    "Old": st.sampled_from("abc").map(nodes.String),
    "Anything": st.booleans().map(nodes.Boolean),
}


@settings(max_examples=examples(40))
@given(text=queries(SCHEMA, custom_scalars=SCALARS), rng=st.randoms(use_true_random=False))
def test_generated_operations_match_graphql_core(text: str, rng: Random) -> None:
    operation = scattered(Operation(text), SCHEMA, rng)
    if not validate(SCHEMA, parse(operation.query)):
        case = Case(SCHEMA, operation.query, operation.variables, timing=True, valid=False)
        asyncio.run(assert_same(case))
