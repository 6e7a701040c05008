"""Terms of file formats: what a header value may consist of without saying anything of a person."""

from __future__ import annotations

import re

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|nan|none", re.IGNORECASE)
_BETWEEN = re.compile(r"[\s,()|\"]+")
#: NRRD, MetaImage and 3D Slicer, in small letters.
_HEADER_WORDS = """
unsigned signed long short char int int8 int16 int32 int64 uint8 uint16 uint32 uint64 int8_t
int16_t int32_t int64_t uint8_t uint16_t uint32_t uint64_t uchar ushort uint longlong ulonglong
float double block raw text txt ascii hex gzip gz bzip2 bz2 big little right-anterior-superior
left-anterior-superior left-posterior-superior ras las lps right-anterior-superior-time
left-anterior-superior-time left-posterior-superior-time rast last lpst scanner-xyz
scanner-xyz-time 3d-right-handed 3d-left-handed 3d-right-handed-time 3d-left-handed-time domain
space time list vector covariant-vector normal point scalar complex 2-vector 3-vector 4-vector
3-color 4-color rgb-color hsv-color xyz-color rgba-color 3-normal 3-gradient quaternion
2d-symmetric-matrix 2d-masked-symmetric-matrix 2d-matrix 2d-masked-matrix 3d-symmetric-matrix
3d-masked-symmetric-matrix 3d-matrix 3d-masked-matrix stub cell node ? ??? mm cm um ms s dwmri
true false image local binary labelmap closed surface planar contour fractional
"""
_TERMS = frozenset(_HEADER_WORDS.split())
_AXES = re.compile(r"[RLAPIS]{3}")
_META_TYPE = re.compile(r"MET_[A-Z]+(_[A-Z]+)*")
#: BIDS directions and units, defined terms of DICOM (C.8.3.1, C.7.6.1.1.2), in their own case.
_SIDECAR_WORDS = """
i j k i- j- k- 1D 2D 3D SE IR GR EP RM SK MTC SS TRSS SP MP OSP NONE PER RG CG PPG FC PFF PFP FS
SFS WE EDR ACC GEMS M P R I ND DIS2D DIS3D NORM ORIGINAL DERIVED PRIMARY SECONDARY MR ms COL ROW s
Hz rad rad/s T mT arbitrary
"""
_DEFINED = frozenset(_SIDECAR_WORDS.split())


def are_terms(text: str) -> bool:
    """True where a value of a volume's header is made of numbers and terms only."""
    return all(
        _NUMBER.fullmatch(word)
        or word.casefold() in _TERMS
        or _AXES.fullmatch(word)
        or _META_TYPE.fullmatch(word)
        for word in _BETWEEN.split(text)
        if word
    )


def is_defined(text: str) -> bool:
    """True where a value of a sidecar is a defined term, or some strung together."""
    return text in _DEFINED or all(word in _DEFINED for word in re.split(r"[\\_\s]+", text) if word)
