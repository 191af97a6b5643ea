"""Every task on sequences, by its name."""

from jbptt.app.tasks.sequences import adding, copying

TASKS = {task.name: task for task in (adding.TASK, copying.TASK)}
