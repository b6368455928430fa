"""checkov's policies, but for the exceptions that are listed with their reasons."""

import json
import subprocess
import tempfile
from pathlib import Path

import yaml

EXCEPTIONS = "policy-exceptions.txt"


def check(overlay, root, checkov, used):
    exceptions = {}
    for number, line in enumerate((root / EXCEPTIONS).read_text().splitlines(), 1):
        if line and not line.startswith("#"):
            rule, thing, _ = line.split(maxsplit=2)
            exceptions[rule, thing] = number
    with tempfile.TemporaryDirectory() as directory:
        built = Path(directory) / "built.yaml"
        built.write_text(yaml.safe_dump_all(overlay.objects))
        command = [checkov, "-f", str(built), "--framework", "kubernetes", "--compact", "--quiet", "-o", "json", "--skip-download"]
        answer = subprocess.run(command, capture_output=True, text=True)
    report = json.loads(answer.stdout)
    if not report["summary"]["passed"] or report["summary"]["parsing_errors"]:
        raise RuntimeError(f"checkov did not judge: {report['summary']}")
    for failed in report["results"]["failed_checks"]:
        kind, _, name = failed["resource"].split(".")[:3]
        matching = [key for key in ((failed["check_id"], "*"), (failed["check_id"], f"{kind}/{name}")) if key in exceptions]
        if matching:
            used.update(matching)
        else:
            overlay.problem({"kind": kind, "metadata": {"name": name}}, ("metadata", "name"), f"{failed['check_id']}: {failed['check_name']}")
    return exceptions
