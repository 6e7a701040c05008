"""What the user can do: one row in one table. Menu, shortcut, palette, help and tests read it.

A row names keys for a mode: in ``read`` mode digits choose a window, in ``edit`` mode they choose
a tool, so a key never means two things at once. ``scope`` says where a key works: ``window``
everywhere, ``views`` only while the hand is over the images (arrow keys must stay usable in
lists), ``lesions`` there and in the list of lesions (Return must stay usable in editors).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from imaging.heatmap import PICTURE
from viewer.state.display import Layout

if TYPE_CHECKING:
    from app.program import Program

Run = Callable[["Program"], object]
Reason = Callable[["Program"], str]


def always(_program: Program) -> str:
    """The command can always be used."""
    return ""


def needs_volume(program: Program) -> str:
    """Why a command that needs an image cannot run, or nothing."""
    return "" if program.workspace.case.volumes else "Open a study first"


def needs_mask(program: Program) -> str:
    """Why a command that needs a mask cannot run, or nothing."""
    if program.workspace.case.segmentations:
        return ""
    return "There is no mask yet: run a model or paint one"


def needs_lesion(program: Program) -> str:
    """Why a command on the chosen lesion cannot run, or nothing."""
    return "" if program.workspace.selection is not None else "Choose a lesion in the list first"


def needs_guess(program: Program) -> str:
    """Why there is no guess of normal to compare with, or nothing."""
    if any(one.meaning == PICTURE for one in program.workspace.case.heatmaps):
        return ""
    return "There is no guess of normal yet: run a model of “What differs from normal”"


def needs_lesion_or_proposal(program: Program) -> str:
    """Why nothing can be accepted, or nothing."""
    return "" if program.clicks.pending else needs_lesion(program)


def needs_repeats(program: Program) -> str:
    """Why a command on the images of a 4D series cannot run, or nothing."""
    return "" if program.views.has_repeats else "This series has only one image"


def needs_uneven(program: Program) -> str:
    """Why no even volume can be made of the active image, or nothing."""
    from imaging.analysis.regularise import why_not_even
    from imaging.volume import Volume

    workspace = program.workspace
    cell = workspace.display.cell(workspace.display.active)
    volume = workspace.case.items.get(cell.volume_id if cell else "")
    return why_not_even(volume) if isinstance(volume, Volume) else "Open a study first"


def needs_3d(program: Program) -> str:
    """Why a command on the 3D view cannot run, or nothing."""
    return "" if program.views.shows_3d else "No 3D view is on screen (F2 or F3 shows one)"


@dataclass(frozen=True)
class Command:
    """One row.

    Parameters
    ----------
    id, title, group : str
        ``group`` is the menu.
    run : callable
        Gets the program.
    keys : tuple of str
        Portable key sequences; the first one is shown in the menu.
    mode : str
        ``any``, ``read`` or ``edit``: when the keys hold.
    scope : str
        ``window``, ``views`` or ``lesions``.
    why_not : callable
        Returns a sentence where the command cannot run now, else an empty string.
    menu : bool
        False keeps it out of the menus (keys and help only).
    """

    id: str
    title: str
    group: str
    run: Run
    keys: tuple[str, ...] = ()
    mode: str = "any"
    scope: str = "window"
    why_not: Reason = always
    menu: bool = True


def _layout(layout: Layout) -> Run:
    return lambda p: p.views.set_layout(layout)


# fmt: off
def _rows() -> list[Command]:
    row = Command
    file = [
        row("file.open", "Open folder…", "File", lambda p: p.window.ask_folder(), ("Ctrl+O",)),
        row("file.open_file", "Open file or zip…", "File", lambda p: p.window.ask_file(), ("Ctrl+Shift+O",)),
        row("file.add", "Add folder to this case (a prior, say)…", "File", lambda p: p.window.ask_folder(add=True), why_not=needs_volume),
        row("file.demo", "Open the demo study", "File", lambda p: p.cases.open_demo()),
        row("file.save", "Save case", "File", lambda p: p.window.save(), ("Ctrl+S",), why_not=needs_volume),
        row("file.save_as", "Save case as…", "File", lambda p: p.window.ask_save(), ("Ctrl+Shift+S",), why_not=needs_volume),
        row("file.export", "Export…", "File", lambda p: p.window.ask_export(), ("Ctrl+E",), why_not=needs_volume),
        row("file.deidentify", "De-identify folder…", "File", lambda p: p.window.ask_deidentify()),
        row("file.screenshot", "Save screenshot…", "File", lambda p: p.window.ask_screenshot(), ("Ctrl+P",), why_not=needs_volume),
        row("file.remember", "Remember headers of opened folders", "File", lambda p: p.window.toggle_remembering()),
        row("file.forget", "Forget remembered headers", "File", lambda p: p.cases.forget_headers()),
        row("file.close", "Close study", "File", lambda p: p.cases.close(), ("Ctrl+W",), why_not=needs_volume),
        row("file.quit", "Quit", "File", lambda p: p.window.close(), ("Ctrl+Q",)),
    ]
    edit = [
        row("edit.undo", "Undo", "Edit", lambda p: p.tools.undo(), ("Ctrl+Z",), why_not=lambda p: "" if p.clicks.pending or p.workspace.history.undo_name else "Nothing to undo"),
        row("edit.redo", "Redo", "Edit", lambda p: p.tools.redo(), ("Ctrl+Shift+Z", "Ctrl+Y"), why_not=lambda p: "" if p.clicks.redoable or p.workspace.history.redo_name else "Nothing to redo"),
        row("edit.mode", "Read / edit mode", "Edit", lambda p: p.tools.toggle_mode(), ("B",), why_not=needs_volume),
        row("edit.eraser", "Eraser", "Edit", lambda p: p.tools.choose("eraser"), ("E",), why_not=needs_volume),
        row("edit.swap", "Last two tools", "Edit", lambda p: p.tools.swap(), ("X",), why_not=needs_volume),
        row("edit.smaller", "Smaller brush", "Edit", lambda p: p.tools.scale_brush(1 / 1.25), ("[",), "edit"),
        row("edit.larger", "Larger brush", "Edit", lambda p: p.tools.scale_brush(1.25), ("]",), "edit"),
        row("edit.previous_label", "Previous label", "Edit", lambda p: p.tools.step_label(-1), ("Q",), "edit"),
        row("edit.next_label", "Next label", "Edit", lambda p: p.tools.step_label(1), ("W",), "edit"),
        *(
            row(f"edit.tool_{n}", f"Tool {n}", "Edit", lambda p, n=n: p.tools.choose_number(n), (str(n),), "edit", menu=False)
            for n in range(1, 10)
        ),
    ]
    lesion = [
        row("lesion.next", "Next lesion", "Lesion", lambda p: p.findings.step(1), ("N",), why_not=needs_mask),
        row("lesion.previous", "Previous lesion", "Lesion", lambda p: p.findings.step(-1), ("P",), why_not=needs_mask),
        row("lesion.accept", "Accept lesion or proposal", "Lesion", lambda p: p.clicks.accept(), ("Return", "Enter"), scope="lesions", why_not=needs_lesion_or_proposal),
        row("lesion.delete", "Delete lesion", "Lesion", lambda p: p.findings.delete(), ("Del",), why_not=needs_lesion),
        row("lesion.accept_all", "Accept all lesions", "Lesion", lambda p: p.findings.accept_all(), ("Ctrl+Return",), why_not=needs_mask),
    ]
    view = [
        row("view.one", "One view", "View", _layout(Layout.ONE), ("F1",)),
        row("view.one_three", "One large, three small", "View", _layout(Layout.ONE_AND_THREE), ("F2",)),
        row("view.two_two", "Two by two", "View", _layout(Layout.TWO_BY_TWO), ("F3",)),
        row("view.maximise", "Maximise / restore view", "View", lambda p: p.views.toggle_maximised(), ("F",), why_not=needs_volume),
        row("view.planes", "All planes of this series", "View", lambda p: p.views.planes(), ("F5",), why_not=needs_volume),
        row("view.series", "Compare series side by side", "View", lambda p: p.cases.compare(), ("F6",), why_not=needs_volume),
        row("view.plane_acquired", "As acquired", "View", lambda p: p.views.set_plane("as acquired"), ("Alt+1",), why_not=needs_volume),
        row("view.plane_axial", "Axial", "View", lambda p: p.views.set_plane("axial"), ("Alt+2",), why_not=needs_volume),
        row("view.plane_sagittal", "Sagittal", "View", lambda p: p.views.set_plane("sagittal"), ("Alt+3",), why_not=needs_volume),
        row("view.plane_coronal", "Coronal", "View", lambda p: p.views.set_plane("coronal"), ("Alt+4",), why_not=needs_volume),
        row("view.plane_oblique", "Oblique", "View", lambda p: p.views.set_plane("oblique"), ("Alt+5",), why_not=needs_volume),
        row("view.plane_3d", "3D", "View", lambda p: p.views.set_plane("3D"), ("Alt+6",), why_not=needs_volume),
        row("view.overlays", "Overlays on / off", "View", lambda p: p.views.toggle("overlays_shown"), ("Space",), "read", "views"),
        row("view.text", "Text on / off", "View", lambda p: p.views.toggle("text_shown"), ("Tab",), "any", "views"),
        row("view.crosshair", "Crosshair on / off", "View", lambda p: p.views.toggle("crosshair_shown"), ("Shift+Space",), "any", "views"),
        row("view.mask", "Mask on / off", "View", lambda p: p.views.toggle("overlays_shown"), ("S",), "edit"),
        row("view.opacity_less", "Mask more transparent", "View", lambda p: p.views.step_opacity(-0.1), ("A",), "edit"),
        row("view.opacity_more", "Mask more opaque", "View", lambda p: p.views.step_opacity(0.1), ("D",), "edit"),
        row("view.invert", "Invert grey values", "View", lambda p: p.views.invert(), ("I",), "read"),
        row("view.flip_h", "Flip horizontally", "View", lambda p: p.views.flip("horizontal"), ("H",), "read"),
        row("view.flip_v", "Flip vertically", "View", lambda p: p.views.flip("vertical"), ("V",), "read"),
        row("view.rotate", "Rotate 90°", "View", lambda p: p.views.rotate(), ("R",), "read"),
        row("view.cine", "Cine", "View", lambda p: p.views.toggle_cine(), ("C",), "read", why_not=needs_volume),
        row("view.next_repeat", "Next echo, b-value or time point", "View", lambda p: p.views.step_repeat(1), (".",), why_not=needs_repeats),
        row("view.previous_repeat", "Previous echo, b-value or time point", "View", lambda p: p.views.step_repeat(-1), (",",), why_not=needs_repeats),
        row("view.play_repeats", "Play echoes, b-values or time points", "View", lambda p: p.views.toggle_play(), ("Shift+C",), why_not=needs_repeats),
        row("view.reset", "Reset view", "View", lambda p: p.views.reset(), ("Ctrl+0",), why_not=needs_volume),
        row("view.even", "Make an even volume", "View", lambda p: p.even.make(p.views.active_volume_id), why_not=needs_uneven),
        row("view.side_panels", "Side panels on / off", "View", lambda p: p.window.toggle_panels(), ("F9",)),
        *(
            row(f"view.window_{n}", ("Window: auto" if n == 0 else f"Window preset {n}"), "View",
                lambda p, n=n: p.views.preset(n), (str(n),), "read", menu=n == 0)
            for n in range(10)
        ),
    ]
    solid = [
        row("solid.rendering", "Volume rendering", "3D", lambda p: p.views.toggle("volume_rendering"), ("Ctrl+3",), why_not=needs_volume),
        row("solid.fit", "Fit the head", "3D", lambda p: p.views.fit_3d(), why_not=needs_3d),
        *(
            row(f"solid.from_{letter}", f"Look from {words}", "3D", lambda p, a=letter: p.views.look_from(a), (f"Ctrl+Alt+{letter}",), why_not=needs_3d)
            for letter, words in (
                ("A", "the front"), ("P", "the back"), ("L", "the left"),
                ("R", "the right"), ("S", "above"), ("I", "below"),
            )
        ),
    ]
    scroll = [
        row(f"scroll.{id}", title, "Scroll", lambda p, n=n: p.views.scroll(n), keys, "any", "views", menu=False)
        for id, title, n, keys in (
            ("next", "Next slice", 1, ("Down",)),
            ("previous", "Previous slice", -1, ("Up",)),
            ("next_10", "Ten slices on", 10, ("Shift+Down",)),
            ("previous_10", "Ten slices back", -10, ("Shift+Up",)),
            ("first", "First slice", -100000, ("Home",)),
            ("last", "Last slice", 100000, ("End",)),
        )
    ] + [
        row("series.next", "Next series", "Scroll", lambda p: p.cases.step_series(1), ("Right", "PgDown"), "any", "views", menu=False),
        row("series.previous", "Previous series", "Scroll", lambda p: p.cases.step_series(-1), ("Left", "PgUp"), "any", "views", menu=False),
    ]
    ai = [
        row("ai.run", "Run the chosen model", "AI", lambda p: p.models.run(), ("Ctrl+R",), why_not=needs_volume),
        row("ai.cancel", "Cancel the run", "AI", lambda p: p.models.cancel(), ("Ctrl+.",), why_not=lambda p: "" if p.models.running else "No model is running"),
        row("ai.explain", "Explain the chosen lesion", "AI", lambda p: p.models.explain_lesion(), ("Ctrl+L",), why_not=needs_lesion),
        row("ai.guess", "Compare with the guess of normal", "AI", lambda p: p.window.show_guess(), why_not=needs_guess),
        row("ai.train", "Train a model…", "AI", lambda p: p.window.ask_training(), ("Ctrl+T",)),
    ]
    help_rows = [
        row("help.keys", "Keys", "Help", lambda p: p.window.show_keys(), ("?",)),
        row("help.log", "Open the log folder", "Help", lambda p: p.window.open_logs()),
        row("help.about", "About Isocenter", "Help", lambda p: p.window.show_about()),
    ]
    return file + edit + lesion + view + solid + scroll + ai + help_rows
# fmt: on


COMMANDS: tuple[Command, ...] = tuple(_rows())
_BY_ID = {row.id: row for row in COMMANDS}


def command(id: str) -> Command:
    """The row with this id; raises KeyError where there is none."""
    return _BY_ID[id]
