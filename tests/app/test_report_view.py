"""A report to read: rows that lead to lesions, text to copy, and nothing that can be changed."""

from __future__ import annotations

import pytest
from PySide6.QtCore import Qt
from PySide6.QtGui import QGuiApplication

from app.windows.report_view import ReportView
from imaging.dicom.objects.read_report import Measurement, MeasurementGroup, ReportLine, ReportText
from imaging.volume import Patient

GROUP = MeasurementGroup(
    "Lesion 1", "1.2.3", "Lesion", "Brain", "finder 2.1",
    (Measurement("Volume", "1523.4", "mm³", "counted voxels"), Measurement("Side", "Left")),
)  # fmt: skip
REPORT = ReportText(
    "Imaging <b>Report</b>", "Complete, not verified", ("Doe, Jane",), "2024-03-11T10:20:00",
    (GROUP,), (ReportLine(0, "Findings", ""), ReportLine(1, "Volume", "1523.4 mm³")),
)  # fmt: skip


@pytest.fixture
def view(qtbot) -> ReportView:
    view = ReportView(REPORT, "Measurements")
    view.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose, False)
    qtbot.addWidget(view)
    view.show()
    return view


def _click(qtbot, view: ReportView, item) -> None:
    place = view.groups.visualItemRect(item).center()
    qtbot.mouseClick(view.groups.viewport(), Qt.MouseButton.LeftButton, pos=place)


def test_what_it_says(view) -> None:
    assert view.about.text() == "Complete, not verified · by Doe, Jane · 2024-03-11, 10:20"
    top = view.groups.topLevelItem(0)
    assert (top.text(0), top.text(1)) == ("Lesion 1", "Lesion · Brain · finder 2.1")
    assert [(top.child(n).text(0), top.child(n).text(1)) for n in range(2)] == [
        ("Volume", "1523.4 mm³"), ("Side", "Left")
    ]  # fmt: skip
    assert "  Volume: 1523.4 mm³" in view.text.toPlainText()


def test_it_does_not_stop_the_rest_and_cannot_be_changed(view) -> None:
    assert not view.isModal()
    assert view.text.isReadOnly()


def test_a_row_and_its_measurements_lead_to_the_lesion(qtbot, view) -> None:
    asked = []
    view.group_chosen.connect(asked.append)
    top = view.groups.topLevelItem(0)
    _click(qtbot, view, top)
    _click(qtbot, view, top.child(1))
    assert asked == [GROUP, GROUP]


def test_all_of_it_is_copied(qtbot, view) -> None:
    qtbot.mouseClick(view.copy, Qt.MouseButton.LeftButton)
    copied = QGuiApplication.clipboard().text()
    assert copied == REPORT.text
    assert "<b>" in copied  # words of a file are only words


def test_escape_closes_it(qtbot, view) -> None:
    qtbot.keyClick(view, Qt.Key.Key_Escape)
    assert not view.isVisible()


def test_without_groups_there_are_no_rows(qtbot) -> None:
    view = ReportView(REPORT._replace(groups=()), "Text")
    qtbot.addWidget(view)
    view.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose, False)
    view.show()
    assert not view.groups.isVisible()


def test_it_names_its_patient_and_warns_beside_somebody_else(qtbot) -> None:
    jane = Patient("DOE^JANE", "4711")
    report = REPORT._replace(patient=jane)
    other = Patient("ROE^R", "1")
    for open_now, role in (((jane,), "title"), ((), "title"), ((other,), "warning")):
        view = ReportView(report, "Text", patients=open_now)
        qtbot.addWidget(view)
        view.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose, False)
        view.show()
        assert view.patient.isVisible()
        assert "DOE, JANE · ID 4711" in view.patient.text()
        assert view.patient.property("role") == role
        assert ("not the patient" in view.patient.text()) == (role == "warning")
