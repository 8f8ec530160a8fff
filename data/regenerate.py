#!/usr/bin/env python3
"""Checks and rewrites the long tables of this folder from two published packages.

    python3 data/regenerate.py check        compare, write nothing
    python3 data/regenerate.py places       the part of it that needs no network: cloud regions, PUEs
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
ALIAS_COLUMNS = [
    "zone", "name", "table_zone", "entsoe_eic", "eia_ba", "watttime_region", "energi_data_area",
]

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


PROVIDER_PUE_COLUMNS = ["provider", "pue", "year", "source", "licence"]
REGION_COLUMNS = [
    "provider", "region", "location", "country", "zone", "electricity_maps_zone", "watttime_region",
    "latitude", "longitude", "pue", "pue_year", "pue_source", "direct_grams_per_kilowatt_hour",
    "carbon_free_share", "own_year", "source", "licence",
]
# No provider publishes less than 1, and a hall above 2 is not a cloud's.
PUE_RANGE = (1.0, 2.0)
# Regions that each provider has at least; fewer means that an update lost some.
LEAST_REGIONS = {"aws": 30, "gcp": 40, "azure": 55}

# Where a region of a zone must lie, in whole degrees or nearly: south, north, west, east. A zone inside a
# country has a box of its own where it is far smaller than the country: a Columbus in Nebraska and a
# Dallas in Oregon have been published as regions of Ohio and Texas.
BOXES = """
AE 22.6 26.1 51.4 56.4;AT 46.3 49.1 9.5 17.2;AU-ACT -36.0 -35.1 148.7 149.4;AU-NSW -37.6 -28.1 140.9 153.7
AU-VIC -39.2 -33.9 140.9 150.0;BE 49.4 51.6 2.5 6.5;BH 25.5 26.4 50.3 50.9;BR -33.8 5.3 -74.0 -34.7
CA-AB 49.0 60.0 -120.0 -110.0;CA-ON 41.6 56.9 -95.2 -74.3;CA-QC 44.9 62.6 -79.8 -57.1;CH 45.8 47.9 5.9 10.5
CL -56.0 -17.5 -76.0 -66.4;CN-BJ 39.4 41.1 115.4 117.6;CN-GD 20.2 25.6 109.6 117.4;CN-HE 36.0 42.7 113.4 119.9
CN-JS 30.7 35.2 116.3 122.0;CN-NM 37.4 53.4 97.1 126.1;CN-NX 35.2 39.4 104.2 107.7;CN-SC 26.0 34.4 97.3 108.6
CN-SD 34.3 38.5 114.7 122.8;CN-SH 30.6 31.9 120.8 122.3;CN-ZJ 27.0 31.3 118.0 123.0;CO -4.3 13.4 -79.1 -66.8
DE 47.2 55.1 5.8 15.1;DK 54.5 57.8 8.0 15.2;ES 36.0 43.8 -9.4 4.4;FI 59.7 70.1 20.5 31.6
FR 41.3 51.2 -5.2 9.6;GB 49.8 60.9 -8.7 1.8;HK 22.1 22.6 113.8 114.5;ID -11.1 6.1 95.0 141.1
IE 51.4 55.5 -10.7 -5.9;IL 29.4 33.4 34.2 35.9;IN 6.7 35.6 68.1 97.4;IT 36.6 47.1 6.6 18.6
JP 24.0 45.6 122.9 146.0;KR 33.1 38.7 125.0 131.0;MX 14.5 32.8 -117.2 -86.7;MY 0.8 7.4 99.6 119.3
NL 50.7 53.6 3.3 7.3;NO 57.9 71.2 4.5 31.2;NZ -47.3 -34.3 166.4 178.6;PH 4.6 21.2 116.9 126.7
PL 49.0 54.9 14.1 24.2;QA 24.4 26.2 50.7 51.7;RS 42.2 46.2 18.8 23.1;SA 16.3 32.2 34.5 55.7
SE 55.3 69.1 11.0 24.2;SG 1.1 1.5 103.6 104.1;TH 5.6 20.5 97.3 105.7;TW 21.8 25.4 119.9 122.1
US-AZNM 31.3 37.1 -116.0 -103.0;US-CAMX 32.4 42.1 -124.5 -114.0;US-ERCT 25.8 34.5 -104.0 -93.5
US-MROW 40.0 49.1 -104.5 -86.5;US-NWPP 38.0 49.1 -125.0 -104.0;US-NYCW 40.4 41.2 -74.3 -73.6
US-RFCW 37.0 42.6 -91.0 -77.5;US-RMPA 37.0 45.1 -111.1 -102.0;US-SPSO 31.0 37.1 -103.5 -91.5
US-SRSO 30.0 35.1 -88.5 -80.8;US-SRVC 32.0 39.6 -84.5 -75.2;ZA -34.9 -22.1 16.4 32.9
"""


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


def boxes():
    for line in BOXES.split("\n"):
        for box in filter(None, line.split(";")):
            zone, *sides = box.split()
            yield zone, [float(side) for side in sides]


def check_places(folder):
    """Returns what is implausible in the tables of cloud regions and of PUEs."""
    _, regions = read_table(folder / "cloud_regions.csv", REGION_COLUMNS,
                            lambda row: (row["provider"], row["region"]))
    _, pues = read_table(folder / "provider_pue.csv", PROVIDER_PUE_COLUMNS,
                         lambda row: row["provider"])
    _, grid = read_countries(folder)
    zones = {row["zone"] for row in grid}
    within = dict(boxes())
    providers = [row["provider"] for row in regions]
    wrong = [f"{provider}: {providers.count(provider)} regions, at least {least} are known"
             for provider, least in LEAST_REGIONS.items() if providers.count(provider) < least]
    if [(row["provider"], row["region"]) for row in regions] != \
            sorted((row["provider"], row["region"]) for row in regions):
        wrong.append("cloud_regions.csv is not sorted by its key")
    for row in regions:
        name = f"{row['provider']} {row['region']}"
        if row["zone"] not in zones:
            wrong.append(f"{name}: {row['zone']} is not in grid_intensity.csv")
        if row["zone"].split("-")[0] != row["country"]:
            wrong.append(f"{name}: {row['zone']} is no zone of {row['country']}")
        south, north, west, east = within.get(row["zone"], (1, 0, 1, 0))
        latitude, longitude = float(row["latitude"]), float(row["longitude"])
        if not (south <= latitude <= north and west <= longitude <= east):
            wrong.append(f"{name}: {latitude} {longitude} is not in {row['zone']}")
        own = row["direct_grams_per_kilowatt_hour"]
        if own and not 0 <= float(own) <= 1500:
            wrong.append(f"{name}: {own} g/kWh")
        share = row["carbon_free_share"]
        if share and not 0 <= float(share) <= 1:
            wrong.append(f"{name}: a carbon-free share of {share}")
        if bool(row["pue"]) != bool(row["pue_year"]) or bool(own) != bool(row["own_year"]):
            wrong.append(f"{name}: a figure without its year")
    for row in regions + pues:
        if row["pue"] and not PUE_RANGE[0] <= float(row["pue"]) <= PUE_RANGE[1]:
            wrong.append(f"{row['provider']} {row.get('region', '')}: a PUE of {row['pue']}")
    print(f"places: {len(regions)} cloud regions, {sum(bool(row['pue']) for row in regions)} with a PUE "
          f"of their own, {len(pues)} providers with one; {len(wrong)} implausible")
    for line in wrong:
        print(f"  {line}")
    return wrong


def check_aliases(folder):
    """Every zone has a yearly figure, and one that the yearly table has stands for itself."""
    _, rows = read_table(folder / "zone_aliases.csv", ALIAS_COLUMNS, lambda row: row["zone"])
    known = {row["zone"] for row in read_countries(folder)[1]}
    for row in rows:
        if row["table_zone"] not in known or row["zone"] in known and row["zone"] != row["table_zone"]:
            raise Failure(f"zone_aliases.csv: {row['zone']} stands for {row['table_zone']}")
    print(f"aliases: {len(rows)} zones, each with a yearly figure")


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
    parser.add_argument("command", choices=["check", "places", "tdp", "countries"])
    parser.add_argument("--folder", type=Path, default=Path(__file__).resolve().parent,
                        help="where the tables are (default: beside this script)")
    arguments = parser.parse_args()
    try:
        if arguments.command == "tdp":
            rewrite_tdp(arguments.folder)
        elif arguments.command == "countries":
            rewrite_countries(arguments.folder)
        elif arguments.command == "places":
            return 1 if check_places(arguments.folder) else 0
        else:
            wrong = check_places(arguments.folder)
            check_aliases(arguments.folder)
            check_countries(arguments.folder)
            if wrong:
                return 1
            if not check_tdp(arguments.folder):
                print("cpu_tdp.csv is not what `tdp` would write: run it, or add a row of our own")
                return 1
    except (Failure, OSError, csv.Error, json.JSONDecodeError) as error:
        print(f"regenerate.py: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
