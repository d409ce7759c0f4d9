"""How products of a file are found again in OpenVINO's runtime model, which renames some of them."""

from compressbench.harness.gemms import Gemm, int8_by_layer, int8_share
from compressbench.harness.int8_openvino import RuntimeProduct, matched


def gemm(node: str, *, weight: tuple[int, ...] = ()) -> Gemm:
    return Gemm(
        node=node, layer=node, is_int8=False, has_constant_weight=bool(weight), multiply_adds=10, weight_sizes=weight
    )


def product(*names: str, is_int8: bool, weight: tuple[int, ...] = ()) -> RuntimeProduct:
    return RuntimeProduct(names=frozenset(names), is_int8=is_int8, weight_sizes=weight)


def test_a_product_is_found_by_its_own_name() -> None:
    products = [product("query", "scale", is_int8=True), product("key", is_int8=False)]
    found = matched([gemm("query", weight=(2, 4)), gemm("key", weight=(2, 4))], products, {})
    assert [each.is_int8 for each in found] == [True, False]


def test_a_renamed_product_is_found_by_what_it_feeds() -> None:
    readers = {"scores": ["scale"], "scale": ["mask"], "mask": ["softmax"], "softmax": ["far"]}
    for name, expected in (("scale", True), ("softmax", True), ("far", False)):
        (found,) = matched([gemm("scores")], [product(name, is_int8=True)], readers)
        assert found.is_int8 is expected


def test_a_product_whose_name_is_lost_is_found_by_its_weight() -> None:
    products = [
        product("known", is_int8=False, weight=(4, 4)),
        product("Multiply_7", is_int8=True, weight=(4, 8)),
        product("Multiply_8", is_int8=False, weight=(4, 8)),
    ]
    gemms = [gemm("known", weight=(4, 4)), gemm("first", weight=(4, 8)), gemm("second", weight=(4, 8))]
    assert [each.is_int8 for each in matched(gemms, products, {})] == [False, True, False]


def test_what_is_not_found_counts_as_fp32() -> None:
    found = matched([gemm("a", weight=(3, 3)), gemm("b")], [product("c", is_int8=True, weight=(4, 4))], {})
    assert not any(each.is_int8 for each in found)


def test_shares_weigh_by_multiply_adds() -> None:
    one = Gemm(node="a", layer="x", is_int8=True, has_constant_weight=True, multiply_adds=3)
    other = Gemm(node="b", layer="x", is_int8=False, has_constant_weight=True, multiply_adds=1)
    assert int8_share([one, other]) == 0.75
    assert int8_share([]) == 0.0
    assert int8_by_layer([one, other]) == {"x": 0.75}
