"""The sequence finder: names in many spellings, timing at any field, and honest doubt."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from dicom_phantoms import Maker, Plan, at_height
from hypothesis import given
from hypothesis import strategies as st

from imaging.analysis.relaxation import Timing, weighting
from imaging.dicom.stacks.sequence import SequenceFacts, guess_by_name, guess_sequence
from imaging.open import scan

#: Names as makers, sites and countries write them.
NAMES = {
    "T1w": """t1_mprage_sag_p2_iso | t1_tse_tra ohne KM | T1 nativ | t1_tirm_sag_dark-fluid
        | Ax T1 FLAIR | T1_post_fossa | T1 postop | AX T1 PRE | T1 pre contrast | T1 W/O CONTRAST
        | T1 sans injection | T1 sin contraste | T1 senza mdc | BRAVO | Ax 3D FSPGR | 3DT1w
        | sub-1_space-FLAIR_T1w | WIP T1W_3D_TFE SENSE | t1_vibe_fs_tra_bh_dyn""",
    "T1w+C": """t1_mprage_sag_p2_iso_KM | T1 nach KM tra | AX T1 POST | AX T1 +C | T1 AX FS GAD
        | 3D T1 MPRAGE POST GD | T1ce | t1c | t1Gd | sag t1 gado | AX T1 INJ | T1 con contraste
        | T1 con mdc | Т1 с контрастом | T1 增强 | patient07_T1POST | sT1W_3D_TFE_GD
        | AX T1 SE post fs""",
    "T2w": """t2_tse_tra | AX T2 FRFSE | T2W_TSE | sagT2 | arc_M2265_T2w | HEAD/T2_TSE_AX
        | Sag CISS""",
    "T2*w": "t2_fl2d_tra_hemo | Ax T2* GRE | T2 star | T2W_FFE | T2 EG axial",
    "FLAIR": """t2_tirm_tra_dark-fluid | t2_spc_da-fl_sag_p2_iso | Sag CUBE T2 FLAIR
        | AX T2 FLAIR +C | 3D_Brain_VIEW_FLAIR_SHC | study1_FLAIR | Т2 FLAIR
        | FLAIR registered to T1""",
    "DWI": """ep2d_diff_3scan_trace_p2_TRACEW | resolve_4scan_trace_tra | Ax DWI 1000b | difusión
        | Diffusione b1000 | ДВИ b1000""",
    "ADC": "ep2d_diff_3scan_trace_p2_ADC | Apparent Diffusion Coefficient (mm2/s) | dADC",
    "SWI": "SWI_Images | Ax SWAN | VEN_BOLD | SWIp",
    "PD": "pd_tse_tra | PDW_TSE | DP tse",
    "localiser": """Localizer | 3-Pl T2* FGRE S | Survey_MST | Repérage | Übersicht
        | AAHead_Scout | 定位像 | T/S/C RF FAST PILOT""",
    "": """ep2d_diff_mddw_20_FA | Mag_Images | TOF_3D_multi-slab | MRA COW | ep2d_perf | 3DpCASL
        | BOLD rest | fMRI_MB_asc | gre_field_mapping | B0 NS | STIR sag | DIR_SPACE | T1 map
        | T2w_probability | sub-1_prob | FLAIR heatmap | T1w_gradcam | lesion uncertainty T2
        | flair_cam | T2w_label-lesion_probseg | map-of T2w | REST1 w SMS
        | T1 subtraction | T1 and T2 stuff | 001_ground_truth""",
}  # fmt: skip


@pytest.fixture
def maker(tmp_path: Path) -> Maker:
    return Maker(tmp_path)


@pytest.mark.parametrize(
    ("sequence", "name"),
    [(s, name.strip()) for s, names in NAMES.items() for name in names.split("|")],
)
def test_names(sequence: str, name: str) -> None:
    assert guess_by_name(name).name == sequence


@pytest.mark.parametrize(
    "part", ["P", "PHASE", "P_FFE", "R", "REAL", "I", "IMAGINARY", "R_FFE", "I_FFE"]
)
@pytest.mark.parametrize("names", [("t2_tse_tra",), ("SWI_Images",), ()])
def test_parts_of_complex_images_are_no_sequence(maker: Maker, part: str, names) -> None:
    for k in range(3):
        maker.write(
            at_height(Plan(), 3.0 * k), ImageType=["ORIGINAL", "PRIMARY", part, "ND"],
            ScanningSequence="GR", RepetitionTime=28, EchoTime=20, FlipAngle=15,
            SeriesDescription=" ".join(names),
        )  # fmt: skip
    with scan([maker.folder]) as result:
        (series,) = result.series
    assert (series.sequence, series.guess.name) == ("", "")
    assert series.guess.confidence > 0.9
    assert "image type says" in series.guess.why


def test_the_complex_component_of_a_file_counts_too(maker: Maker) -> None:
    for k in range(3):
        maker.write(
            at_height(Plan(), 3.0 * k), ImageType=["ORIGINAL", "PRIMARY", "T2", "NONE"],
            ComplexImageComponent="PHASE", SeriesDescription="t2_tse_tra",
        )  # fmt: skip
    with scan([maker.folder]) as result:
        assert [series.sequence for series in result.series] == [""]


SPIN, INVERTED, GRADIENT = ("SE",), ("SE", "IR"), ("GR",)


@pytest.mark.parametrize(
    ("sequence", "facts"),
    [
        ("T1w", {"scanning": SPIN, "repetition": 550, "echo": 12, "strength": 1.5}),
        ("T1w", {"scanning": SPIN, "repetition": 700, "echo": 10, "strength": 3.0}),
        ("T1w", {"scanning": INVERTED, "repetition": 2300, "echo": 20, "inversion": 850}),
        ("T1w", {"scanning": GRADIENT, "repetition": 2300, "echo": 3, "inversion": 900, "flip": 9}),
        ("T1w", {"scanning": GRADIENT, "repetition": 8, "echo": 3, "inversion": 450, "flip": 12}),
        ("T1w", {"scanning": GRADIENT, "repetition": 250, "echo": 2.5, "flip": 80}),
        ("T2w", {"scanning": SPIN, "repetition": 4500, "echo": 100, "strength": 1.5}),
        ("T2w", {"scanning": SPIN, "repetition": 3200, "echo": 408, "train": 282}),
        ("PD", {"scanning": SPIN, "repetition": 2800, "echo": 14, "strength": 3.0}),
        ("FLAIR", {"scanning": INVERTED, "repetition": 9000, "echo": 120, "inversion": 2500}),
        ("FLAIR", {"scanning": INVERTED, "repetition": 4800, "echo": 387, "inversion": 1650,
                   "train": 182, "strength": 3.0}),
        ("FLAIR", {"scanning": INVERTED, "repetition": 4000, "echo": 194, "inversion": 1400,
                   "strength": 0.064}),
        ("T2*w", {"scanning": GRADIENT, "repetition": 600, "echo": 20, "flip": 20}),
        ("", {"scanning": INVERTED, "repetition": 4000, "echo": 60, "inversion": 160}),
        ("", {"scanning": SPIN, "repetition": 1200, "echo": 60}),
        ("", {"scanning": ("EP",), "repetition": 3000, "echo": 30, "flip": 90}),
        ("", {"scanning": GRADIENT, "variant": ("SK", "SS"), "repetition": 4, "echo": 2}),
    ],
)  # fmt: skip
def test_timing_alone(sequence: str, facts) -> None:
    guess = guess_sequence(SequenceFacts(**facts))
    assert guess.name == sequence
    if sequence:
        assert guess.confidence < 0.8  # timing alone never makes it certain
        assert f"TE {facts['echo']:g} ms" in guess.why


T2 = SequenceFacts(scanning=SPIN, repetition=4500, echo=100, strength=1.5)


def test_agreement_raises_and_conflict_lowers_the_confidence() -> None:
    named = guess_by_name("AX T2")
    agreed = guess_sequence(replace(T2, names=("AX T2",)))
    conflict = guess_sequence(replace(T2, names=("AX T1",)))
    assert agreed.name == named.name == "T2w"
    assert agreed.confidence > named.confidence > conflict.confidence
    assert "but timing of T2w" in conflict.why


@pytest.mark.parametrize(("echoes", "sequence"), [((14.0, 98.0), "PD"), ((98.0,), "T2w")])
def test_a_name_for_two_echoes_is_decided_by_the_echo_shown(tmp_path, echoes, sequence) -> None:
    maker = Maker(tmp_path)
    for number, echo in enumerate(echoes):
        for k in range(4):
            maker.write(
                at_height(Plan(), 4.0 * k), EchoTime=echo, EchoNumbers=number + 1,
                RepetitionTime=3000, ScanningSequence="SE", SeriesDescription="pd+t2_tse_tra",
            )  # fmt: skip
    with scan([tmp_path]) as result:
        (series,) = result.series
    assert series.guess.name == series.sequence == sequence
    assert not series.guess.sure


T1 = SequenceFacts(scanning=SPIN, repetition=550, echo=12, names=("t1_se_tra",))


def test_an_entered_agent_means_contrast() -> None:
    plain, given_ = guess_sequence(T1), guess_sequence(replace(T1, agent=True))
    assert (plain.name, given_.name) == ("T1w", "T1w+C")
    assert given_.confidence < plain.confidence  # makers enter it before it is given
    both = guess_sequence(replace(T1, agent=True, names=("t1_se_tra KM",)))
    assert both.name == "T1w+C"
    assert both.confidence > given_.confidence


def test_a_name_that_denies_the_agent_is_believed_with_doubt() -> None:
    guess = guess_sequence(replace(T1, agent=True, names=("t1_se_tra nativ",)))
    assert guess.name == "T1w"
    assert not guess.sure


def test_an_agent_does_not_rename_flair() -> None:
    assert guess_sequence(SequenceFacts(names=("T2 FLAIR",), agent=True)).name == "FLAIR"


@pytest.mark.parametrize(
    ("facts", "sequence"),
    [
        ({"image_type": ("ORIGINAL", "PRIMARY", "LOCALIZER")}, "localiser"),
        ({"image_type": ("DERIVED", "PRIMARY", "DIFFUSION", "ADC")}, "ADC"),
        ({"image_type": ("ORIGINAL", "PRIMARY", "DIFFUSION", "NONE"), "b_value": 1000.0}, "DWI"),
        ({"scanning": ("EP",), "b_value": 800.0, "repetition": 6000, "echo": 80}, "DWI"),
        ({"image_type": ("ORIGINAL", "PRIMARY", "PERFUSION", "NONE")}, ""),
        ({"contrast": "FLUID_ATTENUATED"}, "FLAIR"),
        ({"contrast": "T1", "names": ("fcMRI Field Mapping",)}, ""),
        ({"modality": "CT", "names": ("T1",)}, ""),
    ],
)
def test_image_types_and_diffusion(facts, sequence: str) -> None:
    assert guess_sequence(SequenceFacts(**facts)).name == sequence


@given(st.text(max_size=40))
def test_any_name_gives_a_sound_answer_without_its_own_text(text: str) -> None:
    guess = guess_by_name("Mustermann_Erika_" + text)
    assert 0.0 <= guess.confidence <= 1.0
    assert "mustermann" not in guess.why.lower()
    assert "erika" not in guess.why.lower()


@given(
    *(st.floats(1, 20000) for _ in range(2)),
    *(st.none() | st.floats(1, 5000) for _ in range(3)),
    st.none() | st.floats(0.01, 12),
    st.booleans(),
)
def test_any_timing_gives_a_sound_answer(tr, te, ti, flip, train, field, gradient) -> None:
    name, strength = weighting(Timing(tr, te, ti, flip, train, field, gradient))
    assert 0.0 <= strength <= 0.9
    assert bool(name) == (strength > 0)


def test_series_of_real_scanners(shared_data) -> None:
    folders = ("dicom_ge_mprage", "dicom_siemens_prone", "dicom_siemens_orient/In/axmb")
    with scan([shared_data / name for name in folders]) as result:
        found = {series.description.split(" · ")[0]: series.guess for series in result.series}
    assert found["3D Ax T1 MP-RAGE_R22"].name == found["t1_fl2d_sag"].name == "T1w"
    assert found["3D Ax T1 MP-RAGE_R22"].sure
    assert found["fMRI_MB_asc"].name == ""
    assert np.isfinite([guess.confidence for guess in found.values()]).all()
