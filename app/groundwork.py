"""Everything the window needs that knows no Qt, imported before Qt on purpose.

PySide looks through the source of every module that is imported after it (its feature switch),
which costs about an eighth of the program's own start. Imported first, these are spared.
"""

import json  # noqa: F401
import logging.handlers  # noqa: F401
import secrets  # noqa: F401
import uuid  # noqa: F401

import app.commands
import app.messages
import app.settings
import app.workspace  # noqa: F401
import imaging.analysis.lesions
import imaging.edits.edit
import imaging.heatmap  # noqa: F401
import viewer.rendering.slice_engine
import viewer.rendering.slice_pictures
import viewer.state.colour_tables
import viewer.state.display_json
import viewer.state.navigation
import viewer.state.plan
import viewer.tools.table  # noqa: F401
