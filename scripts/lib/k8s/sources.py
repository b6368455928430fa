"""Where in the sources a value of a built manifest was written: whoever is told of a mistake wants its file and line."""

from pathlib import Path

import yaml


class Sources:
    """Every document, patch and generator that an overlay is built of, with the lines of its values."""

    def __init__(self, root: Path, overlay: Path):
        self.root = root
        self.documents = []  # file, kind, name, node
        # An overlay after what it builds on: what it changes is what counts.
        for directory in builds_on(overlay):
            for path in sorted(directory.glob("*.yaml")):
                for node in yaml.compose_all(path.read_text(), Loader=yaml.CSafeLoader):
                    if isinstance(node, yaml.MappingNode):
                        self._add(path, node)

    def _add(self, path, node):
        kind, name = text(child(node, "kind")), text(child(child(node, "metadata"), "name"))
        self.documents.append((path, kind, name, node))
        if path.name != "kustomization.yaml":
            return
        for field, kind in (("configMapGenerator", "ConfigMap"), ("secretGenerator", "Secret")):
            for item in getattr(child(node, field), "value", None) or []:
                self.documents.append((path, kind, text(child(item, "name")), item))
                for name in getattr(child(item, "envs"), "value", None) or []:
                    self._add_variables(path.parent / name.value, kind, text(child(item, "name")))

    def _add_variables(self, path, kind, name):
        if not path.is_file():
            return
        for number, line in enumerate(path.read_text().splitlines(), 1):
            variable, is_one, value = line.partition("=")
            if is_one and not line.startswith("#"):
                self.documents.append((path, kind, name, Variable(variable, value, number)))

    def find(self, kind, name, path=(), value=None):
        """`file:line` of `path` in the object: where it holds the value, else the deepest place that leads there."""
        best = (-1, "?:0")
        for file, its_kind, its_name, node in self.documents:
            if its_kind != kind or (its_name or "") not in (name, unhashed(name)):
                continue
            if isinstance(node, Variable):
                if list(path)[:2] == ["data", node.name]:
                    best = max((100, self._place(file, node.line)), best, key=lambda found: found[0])
                continue
            depth, line, found = descend(node, path)
            if found and (value is None or found.value == str(value)):
                depth += 100
            if depth >= best[0]:
                best = (depth, self._place(file, line))
        return best[1]

    def _place(self, file, line):
        return f"{file.relative_to(self.root.parent)}:{line}"


def builds_on(directory):
    for name in ("resources", "components"):
        kustomization = directory / "kustomization.yaml"
        listed = yaml.load(kustomization.read_text(), Loader=yaml.CSafeLoader).get(name, []) if kustomization.is_file() else []
        for each in listed:
            if (directory / each).is_dir():
                yield from builds_on((directory / each).resolve())
    yield directory


class Variable:
    def __init__(self, name, value, line):
        self.name, self.value, self.line = name, value, line


def child(node, key):
    if not isinstance(node, yaml.MappingNode):
        return None
    return next((value for name, value in node.value if name.value == key), None)


def key_line(node, key):
    return next((name.start_mark.line + 1 for name, _ in node.value if name.value == key), None)


def text(node):
    return node.value if isinstance(node, yaml.ScalarNode) else None


def unhashed(name):
    """Without what kustomize appends to the names of generated objects."""
    head, _, tail = (name or "").rpartition("-")
    return head if len(tail) == 10 else name


def descend(node, path):
    """Depth, line and node of the deepest part of `path` that is there. Items of lists are found by their name, else by number."""
    line = node.start_mark.line + 1
    for depth, step in enumerate(path):
        if isinstance(node, yaml.MappingNode) and child(node, step) is not None:
            line, node = key_line(node, step), child(node, step)
        elif isinstance(node, yaml.SequenceNode):
            named = [item for item in node.value if step in (text(child(item, "name")), text(child(item, "key")))]
            if named:
                node = named[0]
            elif isinstance(step, int) and step < len(node.value):
                node = node.value[step]
            else:
                return depth, line, None
            line = node.start_mark.line + 1
        else:
            return depth, line, None
    return len(path), line, node
