"""A plan written down can be repeated from any folder."""

from pathlib import Path

import pytest

from compressbench.plan_file import absolute_teacher


def test_folders_become_absolute_and_hub_names_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bert").mkdir()
    assert absolute_teacher("bert") == str(tmp_path / "bert")
    assert absolute_teacher("bert-base-uncased") == "bert-base-uncased"
    assert absolute_teacher("CoLA=bert,MRPC=owner/name") == f"CoLA={tmp_path}/bert,MRPC=owner/name"
    assert absolute_teacher(str(tmp_path / "bert")) == str(tmp_path / "bert")
