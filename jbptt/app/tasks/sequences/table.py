"""Every task on sequences, by its name."""

from jbptt.app.tasks.sequences import adding, copying, languages, reber, temporal_order

TASKS = {task.name: task for task in (adding.TASK, copying.TASK, temporal_order.TASK, reber.TASK, *languages.TASKS)}
