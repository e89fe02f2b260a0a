"""Task texts: the words of the page of a task, in English and Spanish."""

TEXTS = {
    "en": {
        "title": "Task",
        "approve": "Approve",
        "reject": "Reject",
        "for": "For",
        "required": "required",
        "check": "Check these fields:",
        "choose": "Choose",
        "recorded": "Your answer was recorded. You can close this page.",
        "answered": "This task was already answered. Your link cannot be used again.",
        "ended": "This task has ended without an answer.",
        "invalid": "This link is not valid, or it has expired.",
    },
    "es": {
        "title": "Tarea",
        "approve": "Aprobar",
        "reject": "Rechazar",
        "for": "Para",
        "required": "obligatorio",
        "check": "Revise estos campos:",
        "choose": "Elija",
        "recorded": "Su respuesta se ha registrado. Puede cerrar esta página.",
        "answered": "Esta tarea ya tiene respuesta. Su enlace no se puede usar otra vez.",
        "ended": "Esta tarea ha terminado sin respuesta.",
        "invalid": "Este enlace no es válido o ha caducado.",
    },
}
