import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from compressbench.errors import BadInput, UnknownName
from compressbench.tasks.catalog import SUITES, all_tasks, suite_named, suite_tasks, task_named
from compressbench.tasks.glue import GLUE_SOURCES

GLUE_NAMES = ["CoLA", "SST-2", "MRPC", "STS-B", "QQP", "MNLI", "QNLI", "RTE", "WNLI"]


def test_glue_stands_before_the_generated_tasks() -> None:
    names = list(all_tasks())
    assert names[:9] == GLUE_NAMES
    assert all(name.startswith("synthetic-") for name in names[9:])
    assert len(names) > 9


def test_callers_cannot_change_the_catalog() -> None:
    all_tasks().clear()
    assert "CoLA" in all_tasks()


@pytest.mark.parametrize("name", list(all_tasks()))
class TestEveryTask:
    def test_it_is_of_the_suite_that_lists_it(self, name: str) -> None:
        task = all_tasks()[name]
        assert task.name == name
        assert task in suite_tasks(task.suite)

    @given(data=st.data())
    def test_case_and_hyphens_do_not_matter(self, name: str, data: st.DataObject) -> None:
        spelled = "".join(data.draw(st.sampled_from([letter.lower(), letter.upper()])) for letter in name)
        assert task_named(spelled).name == name
        assert task_named(spelled.replace("-", "")).name == name

    def test_a_worker_process_can_have_it(self, name: str) -> None:
        assert pickle.loads(pickle.dumps(all_tasks()[name])) == all_tasks()[name]


@pytest.mark.parametrize("name", GLUE_NAMES)
def test_the_hubs_names_are_known(name: str) -> None:
    assert task_named(GLUE_SOURCES[name].hub_config).name == name
    assert GLUE_SOURCES[name].hub_config in {"cola", "sst2", "mrpc", "stsb", "qqp", "mnli", "qnli", "rte", "wnli"}


def test_the_prefix_may_be_left_out_within_its_suite() -> None:
    assert task_named("sentiment", suite="synthetic").name == "synthetic-sentiment"
    assert task_named("Synthetic-Sentiment", suite="synthetic").name == "synthetic-sentiment"
    with pytest.raises(UnknownName, match="unknown task 'sentiment'"):
        task_named("sentiment")


def test_an_unknown_task_is_told_with_the_nearest() -> None:
    with pytest.raises(UnknownName, match=r"unknown task 'sst-3': did you mean 'SST-2'\? \(`compressbench tasks`"):
        task_named("sst-3")
    with pytest.raises(UnknownName, match="did you mean 'sentiment'"):
        task_named("sentimant", suite="synthetic")


def test_a_task_of_another_suite_is_told_apart_from_an_unknown_one() -> None:
    with pytest.raises(BadInput, match="task CoLA belongs to the suite 'glue', not 'synthetic': use --suite glue"):
        task_named("cola", suite="synthetic")
    with pytest.raises(BadInput, match="belongs to the suite 'synthetic', not 'glue'"):
        task_named("synthetic-sentiment", suite="glue")


def test_suites() -> None:
    assert SUITES == ("synthetic", "glue")
    assert suite_named("GLUE") == "glue"
    assert [task.name for task in suite_tasks("glue")] == GLUE_NAMES
    with pytest.raises(UnknownName, match="unknown suite 'gleu': did you mean 'glue'"):
        suite_tasks("gleu")
