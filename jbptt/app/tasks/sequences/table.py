"""Every task on sequences, by its name."""

from jbptt.app.tasks.sequences import adding, chorales, copying, digits, languages, mnist1d, reber, temporal_order

_ROWS = (
    adding.TASK,
    copying.TASK,
    temporal_order.TASK,
    reber.TASK,
    *languages.TASKS,
    digits.TASK,
    mnist1d.TASK,
    chorales.TASK,
)
TASKS = {task.name: task for task in _ROWS}
