"""Coded concepts that we write into DICOM objects (PS3.16, checked in the tables of pydicom)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from imaging.segmentation import LESION_CATEGORY, LESION_TYPE, WHITE_MATTER_HYPERINTENSITY, Code

if TYPE_CHECKING:
    from highdicom.sr import CodedConcept
    from pydicom.dataset import Dataset

ARTIFICIAL_INTELLIGENCE = Code("123110", "DCM", "Artificial Intelligence")
PROCESSING_EQUIPMENT = Code("109102", "DCM", "Processing Equipment")
SOURCE_FOR_PROCESSING = Code("121322", "DCM", "Source image for image processing operation")
SEGMENTATION_DERIVATION = Code("113076", "DCM", "Segmentation")
COMPUTED = Code("112187", "DCM", "Unspecified method of calculation")
SPATIAL_RESAMPLING = Code("113085", "DCM", "Spatial resampling")
FRAMES_FROM_VOLUME = Code(
    "113091", "DCM", "Spatially-related frames extracted from the volume"
)  # fmt: skip
NO_UNITS = Code("1", "UCUM", "no units")
MILLILITRE, MILLIMETRE = Code("ml", "UCUM", "milliliter"), Code("mm", "UCUM", "millimeter")

#: What a report measures (CID 7469, 7470, 7180) and how it was summed up (CID 7464).
VOLUME = Code("118565006", "SCT", "Volume")
LESION_COUNT = Code("246206008", "SCT", "Number of lesions (observable entity)")
LONG_AXIS = Code("103339001", "SCT", "Long axis")
PERPENDICULAR_AXIS = Code("131189007", "SCT", "Perpendicular Axis")
SIGNAL_INTENSITY = Code("110852", "DCM", "MR signal intensity")
PROBABILITY_VALUE = Code("122157", "DCM", "Probability")
MEAN = Code("373098007", "SCT", "Mean")
STANDARD_DEVIATION = Code("386136009", "SCT", "Standard Deviation")
MINIMUM, MAXIMUM = Code("255605001", "SCT", "Minimum"), Code("56851009", "SCT", "Maximum")
MEASUREMENT_REPORT = Code("126000", "DCM", "Imaging Measurement Report")
MRI_PROCEDURE = Code("25056-3", "LN", "MRI unspecified body region")
PERSON, DEVICE = Code("121006", "DCM", "Person"), Code("121007", "DCM", "Device")

#: What a heat map shows, by ``Heatmap.meaning``.
MAP_MEANINGS: dict[str, Code] = {
    "probability": Code("122157", "DCM", "Probability"),
    "grad-cam": Code("130403", "DCM", "Gradient-weighted class activation"),
    "uncertainty": Code("UNCERTAINTY", "99ISOCENTER", "Uncertainty"),
    "deviation": Code("DEVIATION", "99ISOCENTER", "Deviation from normal"),
    "picture": Code("PICTURE", "99ISOCENTER", "Model's guess of normal"),
    "class activation": Code("130402", "DCM", "Class activation"),
    "saliency": Code("130404", "DCM", "Saliency"),
    "occupancy": Code("OCCUPANCY", "99ISOCENTER", "Occupancy"),
}


def map_code(meaning: str) -> Code:
    """What a heat map shows; one of another program may show what has no code here."""
    return MAP_MEANINGS.get(meaning) or Code("MAP", "99ISOCENTER", meaning.capitalize()[:64])


#: Body part of an image by its Body Part Examined (PS3.16 annex L); brain where it is silent.
BODY_PARTS: dict[str, Code] = {
    "": Code("12738006", "SCT", "Brain"),
    "BRAIN": Code("12738006", "SCT", "Brain"),
    "HEAD": Code("69536005", "SCT", "Head"),
    "SPINE": Code("421060004", "SCT", "Vertebral column"),
    "CSPINE": Code("122494005", "SCT", "Cervical spine"),
    "TSPINE": Code("122495006", "SCT", "Thoracic spine"),
    "LSPINE": Code("122496007", "SCT", "Lumbar spine"),
    "KNEE": Code("72696002", "SCT", "Knee"),
}
WHOLE_BODY = Code("38266002", "SCT", "Entire body")

# --- what a label means ---------------------------------------------------------------------

ABNORMAL = LESION_CATEGORY
ANATOMY = Code("91723000", "SCT", "Anatomical Structure")
TISSUE = Code("85756007", "SCT", "Tissue")
SPATIAL = Code("309825002", "SCT", "Spatial and Relational Concept")

#: Sides, as a region of a label (CID 244).
LEFT, RIGHT = Code("7771000", "SCT", "Left"), Code("24028007", "SCT", "Right")


class LabelCode(NamedTuple):
    """A meaning to choose for a label.

    Parameters
    ----------
    name : str
        What people read in the list.
    category, type : Code
        Segmented Property Category and Type (PS3.3 C.8.20.4; CID 7150 and 7151).
    words : str
        Other words for it, apart by spaces; a word of two parts is written with a hyphen.
    """

    name: str
    category: Code
    type: Code
    words: str = ""


def _sct(category: Code, value: str, meaning: str, words: str = "") -> LabelCode:
    return LabelCode(meaning.capitalize(), category, Code(value, "SCT", meaning), words)


#: Meanings that labels of a head or spine MRI can have; each stands in the tables of PS3.16.
LABEL_CODES: tuple[LabelCode, ...] = (
    LabelCode("Lesion", ABNORMAL, LESION_TYPE, "finding focus ms sclerosis infarct stroke"),
    _sct(ABNORMAL, "301766008", "Lesion of Brain", "brain-lesion"),
    LabelCode(
        "White matter T2 hyperintensity", ABNORMAL, WHITE_MATTER_HYPERINTENSITY,
        "wmh white-matter-hyperintensity white-matter-lesion hyperintensity leukoaraiosis fazekas",
    ),
    LabelCode("Enhancing lesion", ABNORMAL, Code("C113842", "NCIt", "Enhancing Lesion"),
              "enhancing enhancing-tumor enhancing-tumour contrast et"),
    LabelCode("Non-enhancing lesion", ABNORMAL, Code("C81175", "NCIt", "Non-Enhancing Lesion"),
              "non-enhancing nonenhancing non-enhancing-tumor"),
    _sct(ABNORMAL, "6574001", "Necrosis", "necrotic necrotic-core core ncr"),
    _sct(ABNORMAL, "79654002", "Edema", "oedema peritumoral swelling ed"),
    _sct(ABNORMAL, "108369006", "Neoplasm", "tumor tumour neoplasia glioma meningioma"),
    _sct(ABNORMAL, "372087000", "Neoplasm, Primary", "primary-tumor primary-tumour"),
    _sct(ABNORMAL, "14799000", "Neoplasm, Secondary", "metastasis metastases metastatic"),
    _sct(ABNORMAL, "1163375002", "Glioblastoma", "gbm"),
    _sct(ABNORMAL, "4147007", "Mass", "space-occupying"),
    _sct(ABNORMAL, "27925004", "Nodule"),
    _sct(ABNORMAL, "367643001", "Cyst", "cystic"),
    _sct(ABNORMAL, "44132006", "Abscess"),
    _sct(ABNORMAL, "50960005", "Hemorrhage", "haemorrhage bleeding bleed ich microbleed"),
    _sct(ABNORMAL, "35566002", "Hematoma", "haematoma"),
    _sct(ABNORMAL, "75753009", "Blood clot", "clot thrombus"),
    _sct(ABNORMAL, "409774005", "Inflammation", "inflammatory"),
    _sct(ABNORMAL, "85659009", "aneurysm"),
    _sct(ANATOMY, "12738006", "Brain", "brain-mask intracranial"),
    _sct(ANATOMY, "69536005", "Head"),
    _sct(ANATOMY, "89546000", "Skull"),
    _sct(ANATOMY, "372073000", "Cerebral hemisphere", "hemisphere"),
    _sct(ANATOMY, "40146001", "Cerebral cortex", "cortex cortical"),
    _sct(ANATOMY, "83251001", "Frontal lobe", "frontal"),
    _sct(ANATOMY, "16630005", "Parietal lobe", "parietal"),
    _sct(ANATOMY, "78277001", "Temporal lobe", "temporal"),
    _sct(ANATOMY, "31065004", "Occipital lobe", "occipital"),
    _sct(ANATOMY, "36169008", "Insula"),
    _sct(ANATOMY, "88442005", "Corpus callosum", "callosum"),
    _sct(ANATOMY, "119238007", "Brain Stem", "brainstem"),
    _sct(ANATOMY, "61962009", "Midbrain"),
    _sct(ANATOMY, "113305005", "Cerebellum", "cerebellar"),
    _sct(ANATOMY, "5366008", "Hippocampus", "hippocampal"),
    _sct(ANATOMY, "4958002", "Amygdala"),
    _sct(ANATOMY, "42695009", "Thalamus"),
    _sct(ANATOMY, "11000004", "Caudate Nucleus", "caudate"),
    _sct(ANATOMY, "89278009", "Putamen"),
    _sct(ANATOMY, "14738005", "Globus Pallidus", "pallidum"),
    _sct(ANATOMY, "427667007", "Nucleus Accumbens", "accumbens"),
    _sct(ANATOMY, "70007007", "Substantia nigra"),
    _sct(ANATOMY, "35764002", "Brain ventricle", "ventricle ventricles"),
    _sct(ANATOMY, "66720007", "Lateral Ventricle"),
    _sct(ANATOMY, "49841001", "Third ventricle"),
    _sct(ANATOMY, "35918002", "Fourth Ventricle"),
    _sct(ANATOMY, "56329008", "Pituitary"),
    _sct(ANATOMY, "45793000", "Pineal Gland", "pineal"),
    _sct(ANATOMY, "244453006", "Optic chiasm", "chiasm"),
    _sct(ANATOMY, "79652003", "Eyeball", "eye"),
    _sct(ANATOMY, "1231004", "Meninges"),
    _sct(ANATOMY, "18545000", "Dura mater", "dura"),
    _sct(ANATOMY, "59820001", "Blood Vessel", "vessel artery vein"),
    _sct(ANATOMY, "2748008", "Spinal cord", "cord myelon"),
    _sct(ANATOMY, "51282000", "Vertebra", "vertebral-body"),
    _sct(ANATOMY, "421060004", "Spine", "vertebral-column"),
    _sct(TISSUE, "389080008", "White Matter", "wm"),
    _sct(TISSUE, "389081007", "Gray Matter", "grey-matter gm"),
    _sct(TISSUE, "68523003", "Cerebral White Matter"),
    _sct(TISSUE, "65216001", "Cerebrospinal Fluid", "csf liquor"),
    LabelCode("Background", SPATIAL, Code("125040", "DCM", "Background")),
)  # fmt: skip


def search_codes(text: str) -> list[LabelCode]:
    """Meanings whose name, words, meaning or code hold every word of a text, best first.

    An empty text gives all.
    """
    wanted = _words(text)
    scored = []
    for place, entry in enumerate(LABEL_CODES):
        names = _words(f"{entry.name} {entry.type.meaning}")
        every = [*names, *_words(entry.words), entry.type.value.lower()]
        if all(any(word.startswith(w) for word in every) for w in wanted):
            front = bool(wanted) and names[: len(wanted)] == wanted
            named = all(any(name.startswith(w) for name in names) for w in wanted)
            scored.append((not front, not named, place, entry))
    return [entry for *_, entry in sorted(scored, key=lambda row: row[:3])]


def code_for(name: str) -> LabelCode | None:
    """The meaning that a label of this name most likely has; None where no word is known.

    ``"Left hippocampus"`` gives the hippocampus; the longest known phrase of a name wins.
    """
    padded = f" {' '.join(_words(name))} "
    best: tuple[int, LabelCode] | None = None
    for entry in LABEL_CODES:
        phrases = [entry.name, entry.type.meaning, *entry.words.split()]
        for phrase in phrases:
            text = " ".join(_words(phrase))
            if f" {text} " in padded and (best is None or len(text) > best[0]):
                best = len(text), entry
    return best[1] if best else None


def category_of(type: Code) -> Code | None:
    """The category that a type of the table has; None for a type that is not in it."""
    return next((entry.category for entry in LABEL_CODES if entry.type[:2] == type[:2]), None)


def side_for(name: str) -> Code | None:
    """The side that a label's name says, None where it says none."""
    words = set(_words(name))
    left, right = bool(words & {"left", "lh", "sin"}), bool(words & {"right", "rh", "dex"})
    return None if left == right else LEFT if left else RIGHT


def _words(text: str) -> list[str]:
    """Words in small letters, without the s of the plural."""
    found = re.findall(r"[a-z0-9]+", text.lower())
    return [w[:-1] if len(w) > 3 and w.endswith("s") else w for w in found]


def concept(code: Code) -> CodedConcept:
    """The code as highdicom wants it."""
    from highdicom.sr import CodedConcept

    return CodedConcept(code.value, code.scheme, code.meaning)


def code_item(code: Code) -> Dataset:
    """The code as an item of a code sequence (PS3.3 table 8.8-1)."""
    from pydicom.dataset import Dataset

    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = code
    return item


def code_from(sequence: object, fallback: Code) -> Code:
    """The first code of a code sequence, or a fallback where it is missing or empty."""
    try:
        item = sequence[0]  # type: ignore[index]
        return Code(str(item.CodeValue), str(item.CodingSchemeDesignator), str(item.CodeMeaning))
    except (TypeError, IndexError, AttributeError):
        return fallback
