"""A call's outcome as JUnit XML, which every CI server reads: a test case a check, a suite a row."""

from xml.etree import ElementTree as ET

from compressbench.gate.check import Check
from compressbench.gate.decision import Outcome
from compressbench.gate.report import sentence


def outcome_junit(outcome: Outcome) -> str:
    """JUnit XML: a regression is a failure, an inconclusive check an error (skipped where it only warns).

    What is not comparable is skipped. Properties of the root hold the verdict.
    """
    warns = outcome.settings.on_inconclusive == "warn"
    kinds = {"regression": "failure", "inconclusive": "skipped" if warns else "error", "not comparable": "skipped"}
    root = ET.Element("testsuites", name="compressbench gate")
    rows: dict[str, list[Check]] = {}
    for check in outcome.checks:
        rows.setdefault(f"{check.row_name} (seed {check.row.seed})", []).append(check)
    for name, checks in rows.items():
        found = [kinds.get(check.verdict) for check in checks]
        counts = {"failures": found.count("failure"), "errors": found.count("error"), "skipped": found.count("skipped")}
        suite = ET.SubElement(root, "testsuite", name=name, tests=str(len(checks)))
        for key, count in counts.items():
            suite.set(key, str(count))
        for check, kind in zip(checks, found, strict=True):
            what = f"{check.metric} {check.place}".strip()
            case = ET.SubElement(suite, "testcase", classname=f"gate.{check.row_name}", name=what)
            if kind:
                ET.SubElement(case, kind, message=sentence(check), type=check.verdict)
            else:
                ET.SubElement(case, "system-out").text = sentence(check)
    for key in ("tests", "failures", "errors", "skipped"):
        root.set(key, str(sum(int(suite.get(key, "0")) for suite in root)))
    properties = ET.SubElement(root, "properties")
    ET.SubElement(properties, "property", name="verdict", value=outcome.verdict)
    ET.indent(root)
    return ET.tostring(root, encoding="unicode", xml_declaration=True) + "\n"
