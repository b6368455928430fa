"""Checks every overlay under k8s/, and that the checks find what they are for. Called by scripts/check-k8s.sh."""

import os
import subprocess
import sys
from pathlib import Path

import containers
import edges
import policy
import product
import references
import schema
from overlay import Overlay
from sources import Sources

REPO = Path(__file__).resolve().parents[3]


def judged(root, name, knows):
    directory = (root / "overlays" / name).resolve()
    overlay = Overlay(name, directory, Sources(root.resolve(), directory))
    containers.check(overlay)
    references.check(overlay)
    product.check(overlay, knows)
    schema.check(overlay)
    if overlay.objects:
        edges.check(overlay, root, os.environ["GANTRY_CYCLONUS"])
    return overlay


def committed_secrets():
    """Secrets are generated from files that git ignores, never written down."""
    listed = subprocess.run(["git", "ls-files", "k8s"], cwd=REPO, capture_output=True, text=True, check=True).stdout.split()
    for path in listed:
        if "/secrets/" in path:
            yield f"{path}:1: is a secret, and committed"
        for number, line in enumerate((REPO / path).read_text().splitlines(), 1) if (REPO / path).is_file() else ():
            if line.strip() == "kind: Secret":
                yield f"{path}:{number}: a Secret belongs into secretGenerator"


def main(root):
    knows, problems, used, exceptions = product.Product(REPO), list(committed_secrets()), set(), {}
    for directory in sorted((root / "overlays").iterdir()):
        overlay = judged(root, directory.name, knows)
        if overlay.objects:
            exceptions = policy.check(overlay, root, os.environ["GANTRY_CHECKOV"], used)
        problems += overlay.problems
        print(f"overlay {overlay.name}: {len(overlay.objects)} objects, {len(overlay.problems)} problems", file=sys.stderr)
    problems += [f"k8s/{policy.EXCEPTIONS}:{line}: nothing needs this exception: {rule} {thing}" for (rule, thing), line in exceptions.items() if (rule, thing) not in used]
    for each in dict.fromkeys(problems):
        print(each)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
