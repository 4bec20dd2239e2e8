"""Which model answers a task when a request names none: that of the settings, or the only one that does the task."""

from collections.abc import Mapping

from model_store.manifest import Task
from service.errors import NotReady, UnknownModel


class TaskDefaults:
    """``preferred`` are the models that the settings name, by task."""

    def __init__(self, preferred: Mapping[Task, str]) -> None:
        self._preferred = preferred
        self._tasks: dict[str, Task] = {}
        self.names = dict(preferred)
        """The default model of each task. Others only read it."""

    def note(self, tasks: Mapping[str, Task | None]) -> None:
        """Record the task of each model, by name; None for a model that no longer serves."""
        for name, task in tasks.items():
            if task is None:
                self._tasks.pop(name, None)
            else:
                self._tasks[name] = task
        by_task: dict[Task, list[str]] = {}
        for name, does in self._tasks.items():
            by_task.setdefault(does, []).append(name)
        self.names = {task: names[0] for task, names in by_task.items() if len(names) == 1}
        self.names.update(self._preferred)

    def refuse(self, task: Task, is_loading: bool) -> UnknownModel | NotReady:
        """Why the task has no default: several models do it, none does, or none yet because models are loading."""
        able = [name for name, does in self._tasks.items() if does == task]
        if able:
            return UnknownModel(f"several models do {task}: name one in 'model', there are {', '.join(able)}")
        if is_loading:
            return NotReady("the models are being loaded")
        return UnknownModel(f"no model that serves does {task}: /models lists them")
