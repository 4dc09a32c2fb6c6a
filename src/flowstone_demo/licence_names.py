"""The names licences go by outside SPDX: trove classifiers, common free text, and phrases of their wording.

A name that does not say which version or variant is meant has a kind but no SPDX identifier (``VAGUE``), as PEP 639 asks.
"""

from __future__ import annotations

_GPL, _LGPL, _AGPL = (
    "GNU General Public License (GPL)",
    "GNU Library or Lesser General Public License (LGPL)",
    "GNU Affero General Public License",
)
_PERMISSIVE, _WEAK, _STRONG, _UNKNOWN = "permissive", "weak copyleft", "strong copyleft", "unknown"

CLASSIFIERS = {
    "Blue Oak Model License (BlueOak-1.0.0)": "BlueOak-1.0.0",
    "Boost Software License 1.0 (BSL-1.0)": "BSL-1.0",
    "CC0 1.0 Universal (CC0 1.0) Public Domain Dedication": "CC0-1.0",
    "CMU License (MIT-CMU)": "MIT-CMU",
    "Common Development and Distribution License 1.0 (CDDL-1.0)": "CDDL-1.0",
    "Eclipse Public License 1.0 (EPL-1.0)": "EPL-1.0",
    "Eclipse Public License 2.0 (EPL-2.0)": "EPL-2.0",
    "European Union Public Licence 1.1 (EUPL 1.1)": "EUPL-1.1",
    "European Union Public Licence 1.2 (EUPL 1.2)": "EUPL-1.2",
    "GNU Affero General Public License v3": "AGPL-3.0-only",
    "GNU Affero General Public License v3 or later (AGPLv3+)": "AGPL-3.0-or-later",
    "GNU General Public License v2 (GPLv2)": "GPL-2.0-only",
    "GNU General Public License v2 or later (GPLv2+)": "GPL-2.0-or-later",
    "GNU General Public License v3 (GPLv3)": "GPL-3.0-only",
    "GNU General Public License v3 or later (GPLv3+)": "GPL-3.0-or-later",
    "GNU Lesser General Public License v2 (LGPLv2)": "LGPL-2.0-only",
    "GNU Lesser General Public License v2 or later (LGPLv2+)": "LGPL-2.0-or-later",
    "GNU Lesser General Public License v3 (LGPLv3)": "LGPL-3.0-only",
    "GNU Lesser General Public License v3 or later (LGPLv3+)": "LGPL-3.0-or-later",
    "Historical Permission Notice and Disclaimer (HPND)": "HPND",
    "ISC License (ISCL)": "ISC",
    "MIT License": "MIT",
    "MIT No Attribution License (MIT-0)": "MIT-0",
    "Mozilla Public License 1.0 (MPL)": "MPL-1.0",
    "Mozilla Public License 1.1 (MPL 1.1)": "MPL-1.1",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
    "Mulan Permissive Software License v2 (MulanPSL-2.0)": "MulanPSL-2.0",
    "Python Software Foundation License": "PSF-2.0",
    "SIL Open Font License 1.1 (OFL-1.1)": "OFL-1.1",
    "The Unlicense (Unlicense)": "Unlicense",
    "Universal Permissive License (UPL)": "UPL-1.0",
    "zlib/libpng License": "Zlib",
}

VAGUE = {
    "Academic Free License (AFL)": _PERMISSIVE,
    "Apache Software License": _PERMISSIVE,
    "Artistic License": _WEAK,
    "BSD License": _PERMISSIVE,
    "Eclipse Public License": _WEAK,
    _AGPL: _STRONG,
    "GNU Free Documentation License (FDL)": _WEAK,
    _GPL: _STRONG,
    _LGPL: _WEAK,
    "Public Domain": _PERMISSIVE,
    "Python License (CNRI Python License)": _PERMISSIVE,
    "W3C License": _PERMISSIVE,
    "Zope Public License": _PERMISSIVE,
    "Free for non-commercial use": _UNKNOWN,
    "Other/Proprietary License": _UNKNOWN,
}

# Lower case, without "the", "license", "version" and punctuation; the value is an SPDX identifier or a key of VAGUE.
NAMES = {
    "mit": "MIT", "expat": "MIT", "mit x11": "MIT", "mit expat": "MIT", "expat mit x11": "MIT", "mit 0": "MIT-0",
    "apache 2 0": "Apache-2.0", "apache 2": "Apache-2.0", "apache2": "Apache-2.0", "apache v2": "Apache-2.0",
    "apache v2 0": "Apache-2.0", "asl 2": "Apache-2.0", "asl 2 0": "Apache-2.0", "apache": "Apache Software License",
    "bsd": "BSD License", "new bsd": "BSD-3-Clause", "modified bsd": "BSD-3-Clause", "3 clause bsd": "BSD-3-Clause",
    "bsd 3 clause": "BSD-3-Clause", "bsd 3": "BSD-3-Clause", "bsd3": "BSD-3-Clause", "simplified bsd": "BSD-2-Clause",
    "2 clause bsd": "BSD-2-Clause", "bsd 2 clause": "BSD-2-Clause", "bsd 2": "BSD-2-Clause", "0bsd": "0BSD",
    "isc": "ISC", "iscl": "ISC", "psf": "PSF-2.0", "psfl": "PSF-2.0", "psf 2 0": "PSF-2.0", "python foundation": "PSF-2.0",
    "zlib": "Zlib", "zpl 2 1": "ZPL-2.1", "hpnd": "HPND", "unlicense": "Unlicense", "public domain": "Public Domain",
    "cc0": "CC0-1.0", "cc0 1 0": "CC0-1.0", "wtfpl": "WTFPL",
    "mpl 2 0": "MPL-2.0", "mpl 2": "MPL-2.0", "mpl2": "MPL-2.0", "mozilla public 2 0": "MPL-2.0",
    "gpl": _GPL, "gnu gpl": _GPL,
    "gnu general public": _GPL, "gplv2": _GPL,
    "gpl v2": _GPL, "gplv3": _GPL,
    "gpl v3": _GPL, "gnu gplv3": _GPL,
    "gplv2+": "GPL-2.0-or-later", "gpl v2+": "GPL-2.0-or-later", "gplv3+": "GPL-3.0-or-later", "gpl v3+": "GPL-3.0-or-later",
    "lgpl": _LGPL, "gnu lgpl": _LGPL,
    "lgplv2": _LGPL, "lgpl v3": _LGPL,
    "lgplv3": _LGPL, "lgplv2+": "LGPL-2.0-or-later", "lgplv3+": "LGPL-3.0-or-later",
    "lgpl v3+": "LGPL-3.0-or-later", "agpl": _AGPL, "agplv3": _AGPL,
    "agpl v3": _AGPL, "agplv3+": "AGPL-3.0-or-later",
}  # fmt: skip

# The strictest first: a text that names a copyleft licence anywhere is not called permissive.
PHRASES = (
    ("gnu affero general public license", "", _STRONG),
    ("gnu lesser general public license", "", _WEAK),
    ("gnu library general public license", "", _WEAK),
    ("gnu general public license", "", _STRONG),
    ("mozilla public license version 2.0", "MPL-2.0", _WEAK),
    ("mozilla public license, v. 2.0", "MPL-2.0", _WEAK),
    ("eclipse public license", "", _WEAK),
    ("apache license version 2.0", "Apache-2.0", _PERMISSIVE),
    ("apache license, version 2.0", "Apache-2.0", _PERMISSIVE),
    ("permission is hereby granted, free of charge, to any person obtaining a copy", "MIT", _PERMISSIVE),
    ("permission to use, copy, modify, and/or distribute this software for any purpose", "ISC", _PERMISSIVE),
    ("neither the name of", "BSD-3-Clause", _PERMISSIVE),
    ("redistribution and use in source and binary forms", "", _PERMISSIVE),
    ("this is free and unencumbered software released into the public domain", "Unlicense", _PERMISSIVE),
)
