"""Holds responses against libraries that others have written.

usage: check.py TOOL CERTIFICATE DIRECTORY

Every FILE.xml of the directory has a FILE.json beside it that says what it has to contain.
Prints `missing: ...` and exits with 3 if the library is not installed, prints
`checked N` on success, and exits with 1 at the first document that is wrong.
"""

import base64
import json
import pathlib
import sys

SAML = "{urn:oasis:names:tc:SAML:2.0:assertion}"
DS = "{http://www.w3.org/2000/09/xmldsig#}"


def wrong(path, what):
    sys.exit(f"{path.name}: {what}")


def lxml_check(certificate):
    """Canonical form, and the values as an independent parser sees them."""
    from lxml import etree

    def check(path, xml, expected):
        root = etree.fromstring(xml)
        if etree.tostring(root, method="c14n", exclusive=True, with_comments=False) != xml:
            wrong(path, "is not its own canonical form")
        for assertion in root.iter(SAML + "Assertion"):
            alone = etree.tostring(assertion, method="c14n", exclusive=True, with_comments=False)
            if alone not in xml:
                wrong(path, "the assertion is not in canonical form")
        for info in root.iter(DS + "SignedInfo"):
            alone = etree.tostring(info, method="c14n", exclusive=True, with_comments=False)
            bare = alone.replace(b' xmlns:ds="http://www.w3.org/2000/09/xmldsig#"', b"", 1)
            if bare not in xml:
                wrong(path, "SignedInfo is not in canonical form")

        def text(name):
            return [e.text for e in root.iter(SAML + name)]

        attributes = {
            a.get("Name"): [v.text for v in a] for a in root.iter(SAML + "Attribute")
        }
        wanted = {
            "OrganizationName": [expected["organization_name"]],
            "email": [expected["email"]],
        }
        if expected["service_name"] is not None:
            wanted["ServiceName"] = [expected["service_name"]]
        data = root.find(f".//{SAML}SubjectConfirmationData")
        for what, found, want in [
            ("Issuer", text("Issuer"), [expected["issuer"]] * 2),
            ("NameID", text("NameID"), [expected["email"]]),
            ("Audience", text("Audience"), [expected["audience"]]),
            ("Recipient", data.get("Recipient"), expected["recipient"]),
            ("Destination", root.get("Destination"), expected["recipient"]),
            ("attributes", attributes, wanted),
            ("signatures", len(list(root.iter(DS + "Signature"))), expected["signatures"]),
        ]:
            if found != want:
                wrong(path, f"{what} is {found!r}, not {want!r}")

    return check


def signxml_check(certificate):
    """The signature as signxml sees it, and which bytes it covers."""
    from signxml import SignatureConfiguration, XMLVerifier

    def check(path, xml, expected):
        configuration = SignatureConfiguration(
            location="./" if expected["sign"] != "assertion" else ".//",
            expect_references=1,
        )
        signed = XMLVerifier().verify(
            xml, x509_cert=certificate, expect_config=configuration, id_attribute="ID"
        )
        want = SAML + "Assertion" if expected["sign"] == "assertion" else None
        if want and signed.signed_xml.tag != want:
            wrong(path, f"the signature covers {signed.signed_xml.tag}")

    return check


def python3_saml_check(certificate):
    """The verdict of a service provider in strict mode."""
    from onelogin.saml2.response import OneLogin_Saml2_Response
    from onelogin.saml2.settings import OneLogin_Saml2_Settings

    def check(path, xml, expected):
        if not expected["plain"]:
            return False
        settings = OneLogin_Saml2_Settings(
            {
                "strict": True,
                "sp": {
                    "entityId": expected["audience"],
                    "assertionConsumerService": {"url": expected["recipient"]},
                },
                "idp": {
                    "entityId": expected["issuer"],
                    "singleSignOnService": {"url": "https://idp.example/sso"},
                    "x509cert": certificate,
                },
                "security": {
                    "wantAssertionsSigned": expected["sign"] != "response",
                    "wantMessagesSigned": expected["sign"] != "assertion",
                    "rejectDeprecatedAlgorithm": True,
                    "wantNameId": True,
                },
            }
        )
        response = OneLogin_Saml2_Response(settings, base64.b64encode(xml).decode())
        request = {
            "https": "on",
            "http_host": "sp.example",
            "script_name": "/acs",
            "get_data": {},
            "post_data": {},
        }
        if not response.is_valid(request):
            wrong(path, f"is not valid: {response.get_error()}")
        if response.get_nameid() != expected["email"]:
            wrong(path, "another user")
        if response.get_attributes().get("OrganizationName") != [expected["organization_name"]]:
            wrong(path, "another organisation")

    return check


def main():
    tool, certificate, directory = sys.argv[1:]
    checks = {
        "lxml": lxml_check,
        "signxml": signxml_check,
        "python3-saml": python3_saml_check,
    }
    try:
        check = checks[tool](pathlib.Path(certificate).read_text())
    except ImportError as e:
        print(f"missing: {e}")
        sys.exit(3)
    checked = 0
    for path in sorted(pathlib.Path(directory).glob("*.xml")):
        expected = json.loads(path.with_suffix(".json").read_text())
        if check(path, path.read_bytes(), expected) is not False:
            checked += 1
    print(f"checked {checked}")


main()
