"""Known vulnerabilities of the packages that are installed, looked up by pip-audit among those of OSV.

    python tests/audit.py

Fails where there is one. Where OSV cannot be reached it says so and goes on, for that says nothing of the
packages.
"""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Mapping
from typing import Any

SERVICE = "https://api.osv.dev/"
# The index of packages, pip-audit's other source, says of one that it does not know that nothing is known.
AUDIT = ("--vulnerability-service", "osv", "--local", "--skip-editable", "--progress-spinner", "off")
NOT_AUDITED = "NOT AUDITED: the dependencies were not looked up among known vulnerabilities"


def main(service: str = SERVICE) -> int:
    if why := unreachable(service):
        print(f"{NOT_AUDITED}, for {service} cannot be reached ({why})")
        return 0
    command = [sys.executable, "-m", "pip_audit", *AUDIT, "--format", "json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if not done.stdout.strip():
        print(done.stderr, file=sys.stderr)
        print("pip-audit came to no result", file=sys.stderr)
        return 1
    return verdict(json.loads(done.stdout)["dependencies"])


def unreachable(service: str) -> str:
    """Why a service does not answer; nothing where it does, whatever it says."""
    try:
        urllib.request.urlopen(service, timeout=10).close()
    except urllib.error.HTTPError:
        return ""
    except OSError as error:
        return str(getattr(error, "reason", error))
    return ""


def verdict(packages: list[Mapping[str, Any]]) -> int:
    """1 where a package is vulnerable; what is found is printed."""
    looked_up = [package for package in packages if "skip_reason" not in package]
    bad = [(package, one) for package in looked_up for one in package["vulns"]]
    for package, one in bad:
        mended = ", ".join(one["fix_versions"]) or "no version yet"
        print(f"{package['name']} {package['version']}: {one['id']}, mended in {mended}")
    if not looked_up:
        print(f"{NOT_AUDITED}, for {SERVICE} knows none of them")
    else:
        print(f"{len(looked_up)} of {len(packages)} packages audited, {len(bad)} known vulnerabilities")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
