"""Everything the window needs that knows no Qt, imported before Qt on purpose.

PySide looks through the source of every module that is imported after it (its feature switch),
which costs about an eighth of the program's own start. Imported first, these are spared.
"""

import json  # noqa: F401
import logging.handlers  # noqa: F401
import secrets  # noqa: F401
import uuid  # noqa: F401

import app.commands  # noqa: F401
import app.messages  # noqa: F401
import app.settings  # noqa: F401
import app.workspace  # noqa: F401
import imaging.analysis.lesions  # noqa: F401
import imaging.edits.edit  # noqa: F401
import imaging.heatmap  # noqa: F401
import viewer.rendering.slice_engine  # noqa: F401
import viewer.rendering.slice_pictures  # noqa: F401
import viewer.state.colour_tables  # noqa: F401
import viewer.state.display_json  # noqa: F401
import viewer.state.navigation  # noqa: F401
import viewer.state.plan  # noqa: F401
import viewer.tools.table  # noqa: F401
