#!/usr/bin/env python3
"""Checks and rewrites the long tables of this folder from two published packages.

    python3 data/regenerate.py check        compare, write nothing
    python3 data/regenerate.py tdp          rewrite the codecarbon rows of cpu_tdp.csv
    python3 data/regenerate.py countries    update the Ember rows of grid_intensity.csv

The packages are `@tgwf/co2` (Ember's figures per country, fetched by `npm pack`) and
`codecarbon` (processor TDPs, fetched by `pip download`). Both are read as archives: nothing
of them is installed or run. Rows of every other source are carried over untouched, and so
are the comment lines that open each table.
"""

import argparse
import csv
import json
import math
import re
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

# To move to a newer release: change the version, run `check`, read the list, then rewrite.
CO2JS_VERSION = "0.19.0"
CODECARBON_VERSION = "3.3.2"

# The package gives no year per country. Most figures of the pinned release equal those of
# 2024 in our table, so that is the year a changed row is given.
CO2JS_YEAR = "2024"
# Ember publishes under CC BY 4.0, but the package still states share-alike for its copy, so a
# figure that comes from the copy carries what the copy says.
CO2JS_LICENCE = "CC-BY-SA-4.0"

AGREEMENT = 0.02  # relative; the bound under which two country figures count as equal
ROUNDING = 0.02  # g/kWh; smaller differences are rounding and leave a row as it is
DOWNLOAD_TIMEOUT_SECONDS = 300  # both archives are under 1 MB; longer means no network
TDP_RANGE_WATTS = (1.0, 600.0)  # below: a part of a chip; above: no package is sold

COUNTRY_COLUMNS = [
    "zone", "name", "parent", "grams_per_kilowatt_hour", "basis", "accounting", "year",
    "quality", "source", "licence",
]
TDP_COLUMNS = ["model", "tdp_watts", "source"]

# ISO 3166-1: alpha-2 (our zone) and alpha-3 (the package's key) written as one word.
ISO_CODES = """
ADAND AEARE AFAFG AGATG AIAIA ALALB AMARM AOAGO AQATA ARARG ASASM ATAUT AUAUS AWABW AXALA AZAZE
BABIH BBBRB BDBGD BEBEL BFBFA BGBGR BHBHR BIBDI BJBEN BLBLM BMBMU BNBRN BOBOL BQBES BRBRA BSBHS
BTBTN BVBVT BWBWA BYBLR BZBLZ CACAN CCCCK CDCOD CFCAF CGCOG CHCHE CICIV CKCOK CLCHL CMCMR CNCHN
COCOL CRCRI CUCUB CVCPV CWCUW CXCXR CYCYP CZCZE DEDEU DJDJI DKDNK DMDMA DODOM DZDZA ECECU EEEST
EGEGY EHESH ERERI ESESP ETETH FIFIN FJFJI FKFLK FMFSM FOFRO FRFRA GAGAB GBGBR GDGRD GEGEO GFGUF
GGGGY GHGHA GIGIB GLGRL GMGMB GNGIN GPGLP GQGNQ GRGRC GSSGS GTGTM GUGUM GWGNB GYGUY HKHKG HMHMD
HNHND HRHRV HTHTI HUHUN IDIDN IEIRL ILISR IMIMN ININD IOIOT IQIRQ IRIRN ISISL ITITA JEJEY JMJAM
JOJOR JPJPN KEKEN KGKGZ KHKHM KIKIR KMCOM KNKNA KPPRK KRKOR KWKWT KYCYM KZKAZ LALAO LBLBN LCLCA
LILIE LKLKA LRLBR LSLSO LTLTU LULUX LVLVA LYLBY MAMAR MCMCO MDMDA MEMNE MFMAF MGMDG MHMHL MKMKD
MLMLI MMMMR MNMNG MOMAC MPMNP MQMTQ MRMRT MSMSR MTMLT MUMUS MVMDV MWMWI MXMEX MYMYS MZMOZ NANAM
NCNCL NENER NFNFK NGNGA NINIC NLNLD NONOR NPNPL NRNRU NUNIU NZNZL OMOMN PAPAN PEPER PFPYF PGPNG
PHPHL PKPAK PLPOL PMSPM PNPCN PRPRI PSPSE PTPRT PWPLW PYPRY QAQAT REREU ROROU RSSRB RURUS RWRWA
SASAU SBSLB SCSYC SDSDN SESWE SGSGP SHSHN SISVN SJSJM SKSVK SLSLE SMSMR SNSEN SOSOM SRSUR SSSSD
STSTP SVSLV SXSXM SYSYR SZSWZ TCTCA TDTCD TFATF TGTGO THTHA TJTJK TKTKL TLTLS TMTKM TNTUN TOTON
TRTUR TTTTO TVTUV TWTWN TZTZA UAUKR UGUGA UMUMI USUSA UYURY UZUZB VAVAT VCVCT VEVEN VGVGB VIVIR
VNVNM VUVUT WFWLF WSWSM XKXKX YEYEM YTMYT ZAZAF ZMZMB ZWZWE
"""
AGGREGATES = {
    "WORLD": "WORLD", "EU": "EU", "X-AFRICA": "AFRICA", "X-ASEAN": "ASEAN", "X-ASIA": "ASIA",
    "X-EUROPE": "EUROPE", "X-G20": "G20", "X-G7": "G7", "X-LAC": "LATIN AMERICA AND CARIBBEAN",
    "X-MIDDLE-EAST": "MIDDLE EAST", "X-NORTH-AMERICA": "NORTH AMERICA",
    "X-OCEANIA": "OCEANIA", "X-OECD": "OECD",
}
PACKAGE_KEY = AGGREGATES | {code[:2]: code[2:] for code in ISO_CODES.split()}

# Entries that are no processor package: I/O chips, microcontrollers, a bare core design, and
# bundles sold under another name.
NOT_A_PACKAGE = re.compile(
    r"\bI/O\b|Aubrey Isle|Microcontroller|^Cortex-|^ARMv8|Core i\d\+\d", re.IGNORECASE
)
# Notebook parts that the table lists with the watts of a desktop part (65 or 100 W).
WRONG_UPSTREAM = {
    "AMD A4-7210", "AMD A6 PRO-7050B", "AMD A8 PRO-7150B", "AMD A8-7200P", "AMD E2-7110",
}
VENDORS = ("AMD ", "Intel ", "Apple ", "Ampere ", "AWS ", "NVIDIA ")
AMD_FAMILIES = re.compile(r"(A\d+[ -]|E[12][ -]|FX[ -]|Athlon |Sempron |PRO )")


class Failure(Exception):
    """Something the caller can act on; printed without a traceback."""


# --- tables -------------------------------------------------------------------------------


def read_table(path, columns, key):
    """Returns (comment lines, rows). A wrong header or a repeated key is a failure."""
    comments, body = [], []
    for line in path.read_text(encoding="utf-8").splitlines():
        (comments if line.startswith("#") and not body else body).append(line)
    reader = csv.DictReader(body, strict=True)
    if reader.fieldnames != columns:
        raise Failure(f"{path.name}: header is {reader.fieldnames}, expected {columns}")
    rows, seen = [], set()
    for row in reader:
        identity = key(row)
        if identity in seen or None in row or None in row.values():
            raise Failure(f"{path.name}: row {identity} is repeated or has a wrong column count")
        seen.add(identity)
        rows.append(row)
    return comments, rows


def write_table(path, comments, columns, rows, key):
    """Sorts by key and replaces the file in one step, so that a failed run leaves it whole."""
    draft = path.with_suffix(".csv.new")
    with draft.open("w", encoding="utf-8", newline="") as out:
        out.writelines(line + "\n" for line in comments)
        writer = csv.DictWriter(out, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(sorted(rows, key=key))
    draft.replace(path)


def zone_and_basis(row):
    return (row["zone"], row["basis"])


def model(row):
    return row["model"]


def read_countries(folder):
    return read_table(folder / "grid_intensity.csv", COUNTRY_COLUMNS, zone_and_basis)


def read_tdp(folder):
    return read_table(folder / "cpu_tdp.csv", TDP_COLUMNS, model)


def shortest(value):
    """The value without trailing zeros, as the tables write it."""
    return f"{value:.3f}".rstrip("0").rstrip(".")


# --- packages -----------------------------------------------------------------------------


def fetch(command, folder, pattern):
    """Runs a package client in `folder` and returns the one archive it leaves there."""
    try:
        subprocess.run(
            command, cwd=folder, check=True, capture_output=True, text=True,
            timeout=DOWNLOAD_TIMEOUT_SECONDS,
        )
    except FileNotFoundError:
        raise Failure(f"running {command[0]}: not found (install it and put it on the PATH)")
    except subprocess.TimeoutExpired:
        raise Failure(f"running {' '.join(command)}: no answer in {DOWNLOAD_TIMEOUT_SECONDS} s")
    except subprocess.CalledProcessError as error:
        last = (error.stderr.strip().splitlines() or ["no message"])[-1]
        raise Failure(f"running {' '.join(command)}: {last} (is the network reachable?)")
    found = list(Path(folder).glob(pattern))
    if len(found) != 1:
        raise Failure(f"running {' '.join(command)}: left {len(found)} files like {pattern}")
    return found[0]


def package_intensities():
    """Ember's g/kWh by alpha-3 code (or name of an aggregate) from `@tgwf/co2`."""
    member = "package/dist/esm/data/average-intensities.min.js"
    with tempfile.TemporaryDirectory() as folder:
        command = ["npm", "pack", "--silent", f"@tgwf/co2@{CO2JS_VERSION}"]
        with tarfile.open(fetch(command, folder, "*.tgz")) as archive:
            try:
                script = archive.extractfile(member).read().decode("utf-8")
            except KeyError:
                raise Failure(f"@tgwf/co2 {CO2JS_VERSION}: no {member} (the layout has changed)")
    found = re.search(r"\bdata\s*=\s*(\{[^{}]*\})", script)
    if not found:
        raise Failure(f"@tgwf/co2 {CO2JS_VERSION}: no table in {member} (the layout has changed)")
    return {key: float(value) for key, value in json.loads(found.group(1)).items()}


def package_tdps():
    """(normalised model -> watts, names left out -> reason) from `codecarbon`."""
    member = "codecarbon/data/hardware/cpu_power.csv"
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps",
                   "--disable-pip-version-check", f"codecarbon=={CODECARBON_VERSION}"]
        with zipfile.ZipFile(fetch(command, folder, "*.whl")) as archive:
            try:
                text = archive.read(member).decode("utf-8-sig")
            except KeyError:
                raise Failure(
                    f"codecarbon {CODECARBON_VERSION}: no {member} (the layout has changed)"
                )
    return clean_tdps((row["Name"], row["TDP"]) for row in csv.DictReader(text.splitlines()))


# --- processor names ----------------------------------------------------------------------


def normalise(name):
    """The form in which names are compared; data/README.md lists the same steps in order."""
    name = name.replace("\u00a0", " ").replace("\u200b", "")
    name = re.sub(r"\((?:r|tm|c)\)(?=\w)", " ", name, flags=re.IGNORECASE)
    name = re.sub(r"\((?:r|tm|c)\)|[®™©]", "", name, flags=re.IGNORECASE)
    name = re.sub(r"\s+(?:with|w/|includes)\s.*$", "", name)
    name = re.sub(r"\s*\([^)]*\)", "", name)
    name = re.sub(r",?\s*@?\s*[\d.]+\s*[GM]Hz$", "", name, flags=re.IGNORECASE)
    name = re.sub(r"^\d+th Gen\s+", "", name)
    name = re.sub(r"\b\w+-Core(?:s$| Processor\b)", "", name, flags=re.IGNORECASE)
    name = re.sub(r"\b(?:Processor|CPU)\b", "", name, flags=re.IGNORECASE)
    name = re.sub(r"\s+(?:APU|Mobile)\s*$", "", name)
    return " ".join(name.split())


def clean_tdps(pairs):
    """Normalises, filters and merges. Of two figures for one name the larger wins, because
    the table is read as an upper bound."""
    kept, left_out = {}, {}
    spelling = {}  # lower case -> the spelling met first: names are matched without case
    for raw, watts_text in pairs:
        name = normalise(raw)
        if not name.startswith(VENDORS) and AMD_FAMILIES.match(name):
            name = f"AMD {name}"
        try:
            watts = float(watts_text)
        except ValueError:
            watts = math.nan
        if not TDP_RANGE_WATTS[0] <= watts <= TDP_RANGE_WATTS[1]:
            left_out[raw] = f"implausible watts {watts_text!r}"
        elif NOT_A_PACKAGE.search(raw):
            left_out[raw] = "not a processor package"
        elif not name.startswith(VENDORS):
            left_out[raw] = "names no vendor"
        elif name in WRONG_UPSTREAM:
            left_out[raw] = "watts of another part"
        else:
            name = spelling.setdefault(name.lower(), name)
            kept[name] = max(watts, kept.get(name, 0.0))
    return kept, left_out


# --- commands -----------------------------------------------------------------------------


def is_ember(row):
    return row["source"].startswith(("owid-ember", "ember-co2js"))


def own_figure(row):
    return row["quality"] in ("reported", "stale")


def check_countries(folder):
    _, rows = read_countries(folder)
    package = package_intensities()
    agree, differ, absent, zero = 0, [], [], []
    for row in (row for row in rows if is_ember(row) and not row["quality"].startswith("proxy:")):
        ours = float(row["grams_per_kilowatt_hour"])
        theirs = package.get(PACKAGE_KEY.get(row["zone"]))
        if theirs is None:
            absent.append(row["zone"])
        elif theirs == 0:
            zero.append(row["zone"])
        elif abs(theirs - ours) <= AGREEMENT * ours:
            agree += 1
        else:
            differ.append((row, ours, theirs))
    print(f"countries: {agree} of {agree + len(differ)} rows agree with @tgwf/co2 "
          f"{CO2JS_VERSION} within {AGREEMENT:.0%}")
    for row, ours, theirs in differ:
        print(f"  {row['zone']:<8} {row['name']:<24} {row['year']} ours {ours:8.2f}  "
              f"package {theirs:8.2f}  {theirs / ours - 1:+.1%}")
    print(f"  not in the package: {' '.join(absent) or 'none'}")
    print(f"  zero in the package, which is rounding: {' '.join(zero) or 'none'}")
    unknown = sorted(set(package) - set(PACKAGE_KEY.values()))
    print(f"  in the package and unknown here: {' '.join(unknown) or 'none'}")


def check_tdp(folder):
    """Returns whether `tdp` would leave the table as it is."""
    _, rows = read_tdp(folder)
    package, left_out = package_tdps()
    own = {row["model"].lower() for row in rows if row["source"] != "codecarbon"}
    expected = {name: watts for name, watts in package.items() if name.lower() not in own}
    ours = {row["model"]: float(row["tdp_watts"]) for row in rows if row["source"] == "codecarbon"}
    shared = ours.keys() & expected.keys()
    differ = sorted(name for name in shared if abs(ours[name] - expected[name]) > 0.0005)
    missing, extra = sorted(expected.keys() - ours.keys()), sorted(ours.keys() - expected.keys())
    print(f"tdp: {len(shared) - len(differ)} of {len(ours)} codecarbon rows equal those of "
          f"codecarbon {CODECARBON_VERSION}; {len(own)} rows of other sources not compared")
    for name in differ:
        print(f"  {name}: ours {shortest(ours[name])}, package {shortest(expected[name])}")
    for label, names in (("in the package only", missing), ("in our table only", extra)):
        print(f"  {label}: {len(names)}" + "".join(f"\n    {name}" for name in names[:20]))
    reasons = [reason.split(" '")[0] for reason in left_out.values()]
    for reason in sorted(set(reasons)):
        print(f"  left out of the package's names, {reason}: {reasons.count(reason)}")
    return not (differ or missing or extra)


def rewrite_tdp(folder):
    comments, rows = read_tdp(folder)
    package, _ = package_tdps()
    kept = [row for row in rows if row["source"] != "codecarbon"]
    own = {row["model"].lower() for row in kept}
    fresh = [
        {"model": name, "tdp_watts": shortest(watts), "source": "codecarbon"}
        for name, watts in package.items() if name.lower() not in own
    ]
    write_table(folder / "cpu_tdp.csv", comments, TDP_COLUMNS, kept + fresh, model)
    print(f"cpu_tdp.csv: {len(fresh)} rows from codecarbon {CODECARBON_VERSION}, "
          f"{len(kept)} rows of other sources kept")


def rewrite_countries(folder):
    comments, rows = read_countries(folder)
    package = package_intensities()
    changed = []
    for row in (row for row in rows if is_ember(row) and own_figure(row)):
        theirs = package.get(PACKAGE_KEY.get(row["zone"]))
        # A zero is a small hydro system rounded down, never a figure to take over.
        if not theirs or abs(theirs - float(row["grams_per_kilowatt_hour"])) <= ROUNDING:
            continue
        row |= {
            "grams_per_kilowatt_hour": shortest(theirs), "year": CO2JS_YEAR,
            "quality": "reported", "source": f"ember-co2js-{CO2JS_VERSION}",
            "licence": CO2JS_LICENCE,
        }
        changed.append(row["zone"])
    by_key = {zone_and_basis(row): row for row in rows}
    followed = 0
    for row in (row for row in rows if row["quality"].startswith("proxy:")):
        stands_for = by_key.get((row["quality"].removeprefix("proxy:"), row["basis"]))
        if stands_for is None or not own_figure(stands_for):
            raise Failure(f"grid_intensity.csv: {row['zone']} follows a zone without own figure")
        inherited = ("grams_per_kilowatt_hour", "year", "source", "licence")
        if any(row[column] != stands_for[column] for column in inherited):
            row |= {column: stands_for[column] for column in inherited}
            followed += 1
    write_table(folder / "grid_intensity.csv", comments, COUNTRY_COLUMNS, rows, zone_and_basis)
    print(f"grid_intensity.csv: {len(changed)} rows taken from @tgwf/co2 {CO2JS_VERSION}, "
          f"{followed} proxies followed, {len(rows) - len(changed) - followed} rows unchanged")
    print(f"  taken: {' '.join(changed) or 'none'}")
    if changed:
        print(f"  these rows are marked {CO2JS_LICENCE}, as the package states for its copy: "
              "read data/README.md before committing them")


def main():
    parser = argparse.ArgumentParser(description="Checks and rewrites the long data tables.")
    parser.add_argument("command", choices=["check", "tdp", "countries"])
    parser.add_argument("--folder", type=Path, default=Path(__file__).resolve().parent,
                        help="where the tables are (default: beside this script)")
    arguments = parser.parse_args()
    try:
        if arguments.command == "tdp":
            rewrite_tdp(arguments.folder)
        elif arguments.command == "countries":
            rewrite_countries(arguments.folder)
        else:
            check_countries(arguments.folder)
            if not check_tdp(arguments.folder):
                print("cpu_tdp.csv is not what `tdp` would write: run it, or add a row of our own")
                return 1
    except (Failure, OSError, csv.Error, json.JSONDecodeError) as error:
        print(f"regenerate.py: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
