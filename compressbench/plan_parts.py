"""The parts of a plan, each read from `Options` and checked: methods, data, teachers, seeds, threads, device."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from compressbench.environment import package_version, usable_cores
from compressbench.errors import BadInput, InvalidParameter
from compressbench.methods.chain import Chain, make_method, parse_methods, spell, split_methods
from compressbench.methods.method import Method
from compressbench.models.geometry import Geometry
from compressbench.options import Options, OwnFiles
from compressbench.tasks.catalog import suite_named, suite_tasks, task_named
from compressbench.tasks.data import TaskData, load_task_data
from compressbench.tasks.task import Task
from compressbench.teacher import HUB_TEACHER, TeacherSource, fitting_teacher, inspect_teacher, teacher_sources

MOST_SIDE_BY_SIDE = 64
DATA_DIR = "{data_dir}"


@dataclass(frozen=True, kw_only=True)
class MethodLine:
    """One entry of ``--methods``: as typed, and as understood."""

    typed: str
    chain: Chain

    @property
    def canonical(self) -> str:
        """Canonical spelling."""
        return spell(self.chain)


def load_data_and_teachers(options: Options) -> tuple[tuple[TaskData, ...], dict[str, TeacherSource]]:
    """The rows of every task asked for, and where each task's teacher comes from, checked against one another."""
    if options.own is not None:
        if options.suite or options.tasks:
            raise BadInput(
                "own data (--train, --validation or a task file) stands instead of --suite and --tasks: drop one"
            )
        teacher = inspect_teacher(options.teacher or HUB_TEACHER, offline=options.offline)
        own = load_own(options.own, label_names=teacher.labels)
        return (own,), {own.task.name: fitting_teacher(teacher, own.task)}
    tasks = select_tasks(options)
    sources = teacher_sources(options.teacher, tasks=tasks, offline=options.offline)
    data = tuple(load_task_data(task, data_dir=options.data_dir, offline=options.offline) for task in tasks)
    return data, sources


def select_tasks(options: Options) -> tuple[Task, ...]:
    """The tasks of the suite that were asked for; all of them where none is named."""
    suite = suite_named(options.suite or "synthetic")
    if not options.tasks:
        return suite_tasks(suite)
    named = [task_named(name, suite=suite if options.suite else None) for name in options.tasks]
    if len({task.suite for task in named}) > 1:
        raise BadInput("--tasks mixes synthetic tasks with GLUE ones: run each suite by itself")
    return tuple({task.name: task for task in named}.values())


def load_own(own: OwnFiles, *, label_names: Sequence[str] | None) -> TaskData:
    """The user's own rows as a task."""
    from compressbench.tasks.own_data import load_own_data, load_task_toml

    if own.task_file is not None:
        return load_task_toml(own.task_file, label_names=label_names)
    if own.train is None or own.validation is None:
        raise BadInput("own data needs both --train FILE and --validation FILE")
    return load_own_data(
        train=own.train,
        validation=own.validation,
        text=own.text,
        label=own.label,
        metric=own.metric,
        label_names=label_names,
    )


def read_methods(
    texts: Sequence[str], parameters: Mapping[str, Mapping[str, Any]]
) -> tuple[Method, tuple[MethodLine, ...]]:
    """The recipe of the baseline's fine-tuning, and every other line once, in order.

    ``finetune`` alone, with or without parameters, says how the baseline is made; it adds no row.
    """
    chains = parse_methods(texts, parameters)
    for name in parameters.keys() - {method.name for chain in chains for method in chain}:
        make_method(name, dict(parameters[name]))  # nobody reads it, and yet a wrong one is a mistake
    finetune = make_method("finetune", dict(parameters.get("finetune", {})))
    lines: dict[str, MethodLine] = {}
    for typed, chain in zip(split_methods(texts), chains, strict=True):
        if [method.name for method in chain] == ["finetune"]:
            finetune = chain[0]
        else:
            line = MethodLine(typed=typed, chain=chain)
            lines.setdefault(line.canonical, line)
    return finetune, tuple(lines.values())


def filled_in(parameters: Mapping[str, Mapping[str, Any]], *, data_dir: Path | None) -> dict[str, dict[str, Any]]:
    """Parameters of a plan in which ``{data_dir}`` stands for the folder that --data-dir names.

    So a plan that others run can name a corpus or word vectors that lie beside their task files.

    Raises:
        BadInput: If it stands there and no folder was given.
    """
    filled: dict[str, dict[str, Any]] = {}
    for name, values in parameters.items():
        filled[name] = dict(values)
        for key, value in values.items():
            if not isinstance(value, str) or DATA_DIR not in value:
                continue
            if data_dir is None:
                raise BadInput(
                    f"the plan's {name}.{key} = {value!r} is a file of yours: say by --data-dir DIR where it is"
                )
            filled[name][key] = value.replace(DATA_DIR, str(data_dir.absolute()))  # as a plan written down has it
    return filled


def check_chain(chain: Chain, source: Geometry, *, teacher: TeacherSource | None, offline: bool) -> None:
    """Refuse a chain whose methods or ingredients cannot work on what they will be given.

    Args:
        chain: Its methods in order.
        source: Geometry that the first one is given.
        teacher: Where the teacher comes from, before fine-tuning; None where there is none.
        offline: Whether the hub may not be asked.

    Raises:
        BadInput: For a geometry or a file that a method cannot take, or a pretrained teacher that is missing.
    """
    for method in chain:
        method.check_files(offline=offline)
        for ingredient in method.ingredients().values():
            start = source
            if ingredient.starts_from == "pretrained":
                start = _pretrained(teacher, needed_for=f"{method.name}: {ingredient.name}")
            check_chain((ingredient,), start, teacher=teacher, offline=offline)
        source = method.check(source)
        if teacher is not None and teacher.path is not None:
            method.check_against(teacher.path)


def check_layer_names(chain: Chain, teacher: TeacherSource) -> None:
    """Refuse a chain that names layers which the model it comes to will not have.

    Raises:
        InvalidParameter: If one does; the message names the method.
    """
    from compressbench.models.layer_names import check_layer_patterns, layer_names

    source, folder = teacher.geometry, teacher.path
    for method in chain:
        try:
            if method.named_layers:
                check_layer_patterns(method.named_layers, layer_names(folder, layers=source.layers))
        except InvalidParameter as error:
            raise InvalidParameter(f"{method.name}: {error}") from None
        source, folder = method.check(source), None if method.makes_bert else folder


def check_rows(chain: Chain, data: TaskData) -> None:
    """Refuse a chain whose methods need more training rows than the task has.

    Raises:
        InvalidParameter: If one does; the message names method and task.
    """
    count = len(data.rows("train"))
    for method in chain:
        try:
            method.check_rows(count)
        except InvalidParameter as error:
            raise InvalidParameter(f"{method.name} on {data.task.name}: {error}") from None


def _pretrained(teacher: TeacherSource | None, *, needed_for: str) -> Geometry:
    if teacher is None or teacher.kind == "fine-tuned":
        given = f"{teacher.name} is fine-tuned already" if teacher else "none was given"
        raise BadInput(
            f"{needed_for} starts from the teacher before fine-tuning, and {given}: "
            "name the pretrained encoder by --teacher"
        )
    return teacher.geometry


def check_seeds(seeds: Sequence[int]) -> tuple[int, ...]:
    """Seeds in order, each once.

    Raises:
        InvalidParameter: If there is none, or one is negative.
    """
    if not seeds or any(seed < 0 for seed in seeds):
        raise InvalidParameter(f"--seeds {','.join(map(str, seeds))}: give whole numbers from 0 on, such as 1,2,3")
    return tuple(dict.fromkeys(seeds))


def check_threads(threads: int | None) -> int:
    """The thread count, by default all cores this process may use.

    Raises:
        InvalidParameter: If it is below 1 or above the cores there are.
    """
    cores = usable_cores()
    if threads is None:
        return cores
    if not 1 <= threads <= cores:
        raise InvalidParameter(f"--threads {threads}: this machine lets the process use 1 to {cores}")
    return threads


def check_thread_counts(counts: Sequence[int] | None) -> tuple[int, ...]:
    """Thread counts of the latencies, the main one first; by default all cores this process may use.

    Raises:
        InvalidParameter: If one is below 1 or above the cores there are.
    """
    return tuple(dict.fromkeys(map(check_threads, counts))) if counts is not None else (check_threads(None),)


def check_concurrency(count: int) -> int:
    """How many processes run side by side; 1: that is not measured.

    Raises:
        InvalidParameter: If it is below 1 or above 64.
    """
    if not 1 <= count <= MOST_SIDE_BY_SIDE:
        raise InvalidParameter(f"--concurrency {count}: give 2 to {MOST_SIDE_BY_SIDE} processes, or 1 for none")
    return count


def resolve_device(device: str) -> str:
    """``cpu`` or ``cuda``; ``auto`` is cuda where torch finds one.

    Raises:
        BadInput: If cuda is asked for and there is none.
    """
    if device == "cpu":
        return device
    has_cuda = _has_cuda()
    if device == "cuda" and not has_cuda:
        raise BadInput("--device cuda: torch finds no CUDA device here; use --device cpu")
    return "cuda" if has_cuda else "cpu"


def _has_cuda() -> bool:
    """Whether torch can use a GPU; told without loading torch where its build has no CUDA at all."""
    if "+cpu" in package_version("torch") or not any(
        map(Path.exists, (Path("/proc/driver/nvidia"), Path("/dev/nvidia0")))
    ):
        return False
    import torch

    return torch.cuda.is_available()
