"""What the names of series and files say about the sequence, in many languages and spellings.

Makers, sites and countries call the same thing differently: ``t2_tirm_tra_dark-fluid``,
``Ax T2 FLAIR``, ``T1 nach KM``, ``sag t1 gado``, ``difusión``. The words here are looked up in
a plain form of the name; what is reported back is the word of this list that was found, never the
name itself, which may hold a patient's.
"""

from __future__ import annotations

import re
import unicodedata
from typing import NamedTuple

#: Images that are none of the sequences a reader chooses by: maps, angiography, functional runs.
OTHER = "other"


class Spoken(NamedTuple):
    """What a name says: a sequence (or :data:`OTHER`), how telling it is, and the words found."""

    sequence: str
    strength: float
    words: str


#: What an image was aligned with or lies in the space of says nothing of the image itself.
_OTHER_IMAGE = re.compile(
    r"(reg(istered)?|co.?reg|aligned|warped|resampled)[ _-]*(to|2)[ _-]*\w*|(space|ref)-[a-z0-9]+"
)
#: T1 and T2 begin a word, or follow a plane, "3D" or the pulse: "REST1" is no T1.
_BEGIN = (
    r"(?:(?<![a-z0-9])|(?<=\dd)|(?<=ax)|(?<=tra)|(?<=tr)|(?<=sag)|(?<=cor)|(?<=se)|(?<=tse)"
    r"|(?<=fse)|(?<=ffe)|(?<=tfe)|(?<=ir)|(?<=\bs))"
)
_T1 = _BEGIN + r"t ?1(?![0-9])(?!rho)"
_T2 = _BEGIN + r"t ?2(?![0-9])"
_STAR = r" ?(\*|star|stern|s\b)|(hemo|haemo|medic|merge|\bgre\b|\bffe\b|fl2d|\beg\b|\bge\b)"

#: Names of things that are none of the sequences; the first group of words that fits counts.
_OTHERS: tuple[tuple[str, str], ...] = (
    ("map of a model", r"\bprob(abilit\w*|s|seg)?\b|\bheat ?maps?\b|\bgrad ?cam\b|\buncertaint\w*"
                       r"|\bcam\b|\bmap of\b"),
    ("angiography", r"\btof\b|\bmra\b|\bmrv\b|angio|venogr|inhance|trance|\bpc ?a\b|qiss|twist"),
    ("perfusion", r"perf(usion)?\b|perfus|\bp?c?asl\b|pcasl|\bdsc\b|\bdce\b|\br?cb[fv]\b|\bmtt\b"
                  r"|\btmax\b|\bttp\b|灌注"),
    ("field map", r"field ?map|\bb[01] ?(map|\d*ns)\b|^(wip )?b[01] ns|gre field|\bshim"),
    ("functional run", r"bold(?!.*(ven|swi))|\bfmri|\brest\d?\b|resting|\bfc ?mri"),
    ("spectroscopy", r"spectro|\bcsi\b|\bsvs\b|\bmrs\b|press ?\d"),
    ("relaxation map", r"\bt[12]\*? ?(map|mapping|mapa|karte)|relaxo|\br2\*? ?map"
                       r"|\bt1 ?rho\b|\bmolli\b|syntac|synthetic map"),
    ("anisotropy map", r"(col|frac|\b)fa\b(?! ?\d)|anisotrop|tensor|color ?map|colfa"),
    ("phase image", r"\bpha(se)?(?: images?)?$|^pha images|phase ?map"),
    ("subtraction", r"subtr\w*|(?!^)\bsubs?\b"),
    ("double inversion", r"\bdir\b|double inv|doppel"),
    ("short-tau inversion", r"\bstir\b|short ?tau"),
    ("screen capture", r"screen|report|summary|protocol ?page|dose"),
)  # fmt: skip

_KINDS: tuple[tuple[str, float, str], ...] = (
    ("localiser", 0.95, r"locali[sz]|lokali[sz]|localis|localiz|\bscout|survey|3.?pl(ane|an)?\b"
                        r"|\bloca?\b|aa ?head|uberblick|ubersicht|reper|pilot|topogram|定位|位置決"
                        r"|локал|plan scan|smart ?brain|\btriplan"),
    ("ADC", 0.95, r"\be?d?adc\b|apparent dif|\badc|扩散系数|икд"),
    ("SWI", 0.92, r"\bswi\b|\bswan\b|susc?ept|ven ?bold|\bswip?\b|mip swi|\bswi |\bfsbb\b|磁敏感"),
    ("DWI", 0.92, r"\bdwi\b|\bdti\b|diff(?!er)|difus|dyfuz|\btrace(w)?\b|\bdw\b|\bdwi|\bsdw\b"
                  r"|resolve|\bb ?(500|800|1000|1500|2000|3000)\b|dmri|дви|диффуз|弥散|扩散|拡散"
                  r"|muse|\bivim\b|\bdsi\b"),
)  # fmt: skip
_FLAIR = r"flair|dark.?fl|da.?fl\b|\btirm\b|fluid.?att|pressbrain flair|压水|水抑制|флаир"
_T1_PULSES = r"mp ?2? ?rage|\bir.?f?spgr\b|spgr\b|bravo|\btfl|\bvibe\b|\bmpr(?!\w)|\bmp ?rage|lava"
_T2_PULSES = r"\bciss\b|fiesta|\bhaste\b|ss.?fse|ss.?tse|\btrufi\b|drive"
_PD = r"\bpd\b|\bpdw|\bpd(?= ?t2)|proton|\bdp\b|densit[ae] (de )?(protoni?|protonic)|protonendichte"
#: A contrast agent was given, or expressly not; the second list is looked at first.
_WITHOUT = (
    r"\bpre\b|\bpre.?(contrast|gd|gad|km|inj)|\bw ?/ ?o\b|\bwo\b|without|ohne|senza|\bsans\b"
    r"|\bsin\b|\bsem\b|\bzonder\b|\bbez\b|non.?contr|nativ|\bno contrast|unenhanced|без|平扫"
)
_WITH = (
    r"(?<![a-z])post(?!.?(op|fos|er))|\+ ?(c\b|gd|gad|km|contr|k\b|inj)|\bc\+|\bgd\b|\bgad\w*"
    r"|\bkm\b|\bmdc\b|kontrast|contrast|\bce\b|t1 ?w?(ce|c|gd|gad|km)\b|\binj(ect(ion|ed)?)?\b"
    r"|(?<![a-z])enh(anced)?\b|dotarem|gadovist|prohance|magnevist|multihance|omniscan|clariscan"
    r"|контраст|с ку\b|增强|造影|ｃｅ|c ?plus"
)


def plain(text: str) -> str:
    """A name in a form that is easy to search: small letters, no accents, spaces between words."""
    text = _OTHER_IMAGE.sub(" ", text.lower())
    letters = unicodedata.normalize("NFKD", text)
    text = "".join(letter for letter in letters if not unicodedata.combining(letter))
    text = re.sub(r"т(?=[12])", "t", text)  # the Cyrillic letter that looks like T
    return " ".join(re.sub(r"[_.,;:()\[\]<>|#-]+", " ", text).split())


def spoken(text: str) -> list[Spoken]:
    """What a description, protocol or file name says about the sequence; empty if nothing."""
    words = plain(text)
    if not words:
        return []
    for sequence, strength, pattern in _KINDS[:1]:
        if found := re.search(pattern, words):
            return [Spoken(sequence, strength, sequence)]
    swi = re.search(_KINDS[2][2], words)
    for name, pattern in _OTHERS:
        if found := re.search(pattern, words):
            if swi and name in ("phase image", "functional run"):
                continue
            return [Spoken(OTHER, 0.9, name)]
    for sequence, strength, pattern in _KINDS[1:]:
        if found := re.search(pattern, words):
            return [Spoken(sequence, strength, found[0].strip())]
    return _weighted(words)


def _weighted(words: str) -> list[Spoken]:
    """T1w, T2w, FLAIR and PD, which names combine freely."""
    t1, t2 = re.search(_T1, words), re.search(_T2, words)
    if found := re.search(_FLAIR, words):
        if t1 and not t2:
            return [_t1(words, 0.85, f"t1 {found[0]}")]
        return [Spoken("FLAIR", 0.93, found[0])]
    if t2 and re.match(_STAR, words[t2.end() :]):
        return [Spoken("T2*w", 0.9, "t2*")]
    if t2 and not t1 and re.search(_STAR, words):
        return [Spoken("T2*w", 0.75, "t2 gradient echo")]
    said = []
    if t1 and t2:
        said += [_t1(words, 0.45, "t1"), Spoken("T2w", 0.45, "t2")]
    elif t1:
        said.append(_t1(words, 0.9, "t1"))
    elif t2:
        said.append(Spoken("T2w", 0.9, "t2"))
    if density := re.search(_PD, words):
        said = [Spoken(s.sequence, min(s.strength, 0.5), s.words) for s in said]
        said.append(Spoken("PD", 0.5 if said else 0.85, density[0]))
    if not said and (pulse := re.search(_T1_PULSES, words)):
        said.append(_t1(words, 0.75, pulse[0]))
    if not said and (pulse := re.search(_T2_PULSES, words)):
        said.append(Spoken("T2w", 0.55, pulse[0]))
    return said


def _t1(words: str, strength: float, found: str) -> Spoken:
    agent = contrast_words(words)
    return (
        Spoken("T1w+C", strength, f"{found} … {agent}") if agent else Spoken("T1w", strength, found)
    )


def contrast_words(words: str) -> str:
    """The word of a plain name that says a contrast agent was given; empty where none does."""
    if re.search(_WITHOUT, words):
        return ""
    found = re.search(_WITH, words)
    return found[0].strip() if found else ""


def says_without(text: str) -> bool:
    """True where a name says that no contrast agent was given."""
    return re.search(_WITHOUT, plain(text)) is not None
