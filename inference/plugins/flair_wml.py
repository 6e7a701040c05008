"""White-matter lesions on FLAIR: the first model of the program.

Runs any card whose architecture is ``unet``: a FLAIR image in (with further images of the card
as further channels), the first map of logits out.
"""

from __future__ import annotations

from inference.model import Found, Prepared, Report
from inference.plugins.whole_head import WholeHead, sigmoid


class FlairLesions(WholeHead):
    """A whole-head network whose first output is a lesion."""

    def find(self, prepared: Prepared, report: Report) -> Found:
        """One pass over the head."""
        return Found(sigmoid(self.logits(self.channels(prepared), report)[0]))
