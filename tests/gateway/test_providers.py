import pytest

from gateway.providers import Provider, ProviderConfigurationError, Providers
from tests.gateway.issuer import settings_of

OPERATOR = settings_of("https://id.example/application/o/dezky-operator/", "dezky-operator")
PORTAL = settings_of("https://id.example/application/o/dezky-portal/", "dezky-portal", surface="portal")


def without(entry, member):
    return {name: value for name, value in entry.items() if name != member}


def refusal(*entries):
    with pytest.raises(ProviderConfigurationError) as caught:
        Providers.from_settings(list(entries))
    line = str(caught.value)
    assert "\n" not in line
    return line


def test_each_pair_selects_its_own_provider():
    providers = Providers.from_settings([OPERATOR, PORTAL])
    operator, portal = providers
    assert providers.select(OPERATOR["issuer"], "dezky-operator") is operator
    assert providers.select(PORTAL["issuer"], "dezky-portal") is portal
    assert (operator.surface, portal.surface) == ("operator", "portal")
    assert operator.identity_provider == portal.identity_provider == "authentik"
    assert operator.jwks_uri is None


def test_issuers_and_audiences_are_never_mixed_into_a_union():
    providers = Providers.from_settings([OPERATOR, PORTAL])
    assert providers.select(OPERATOR["issuer"], "dezky-portal") is None
    assert providers.select(PORTAL["issuer"], "dezky-operator") is None


def test_an_issuer_is_compared_character_by_character():
    providers = Providers.from_settings([OPERATOR])
    for issuer in (OPERATOR["issuer"][:-1], OPERATOR["issuer"].upper(), OPERATOR["issuer"] + "/", ""):
        assert providers.select(issuer, "dezky-operator") is None
        assert not providers.knows_issuer(issuer)


def test_one_of_several_audiences_is_enough_and_those_of_others_are_ignored():
    entry = settings_of("https://id.example/", "a", "b")
    providers = Providers.from_settings([entry])
    (provider,) = providers
    assert providers.select("https://id.example/", ["a"]) is provider
    assert providers.select("https://id.example/", ["x", "b"]) is provider
    assert providers.select("https://id.example/", ["b", "a", "a"]) is provider
    assert providers.select("https://id.example/", ["x"]) is None
    assert providers.select("https://id.example/", []) is None


def test_audiences_that_name_two_providers_at_once_select_none():
    shared = "https://id.example/"
    providers = Providers.from_settings([settings_of(shared, "console"), settings_of(shared, "shop", surface="portal")])
    assert providers.select(shared, ["console", "shop"]) is None
    assert providers.select(shared, "console").surface == "operator"
    assert providers.select(shared, "shop").surface == "portal"


def test_two_providers_that_claim_the_same_pair_stop_the_start():
    line = refusal(OPERATOR, PORTAL, OPERATOR | {"surface": "portal"})
    assert line == (
        "provider 3 (https://id.example/application/o/dezky-operator/): audiences: dezky-operator already belongs "
        "to another provider of the same issuer"
    )


@pytest.mark.parametrize("member", ["issuer", "audiences", "algorithms", "surface", "identityProvider"])
def test_a_provider_that_lacks_a_member_stops_the_start(member):
    line = refusal(OPERATOR, without(PORTAL, member))
    assert line.startswith("provider 2")
    assert f"{member}: is missing" in line
    assert member == "issuer" or PORTAL["issuer"] in line


@pytest.mark.parametrize(
    ("member", "value"),
    [
        ("issuer", ""),
        ("issuer", None),
        ("issuer", 5),
        ("issuer", "id.example"),
        ("issuer", "file:///etc/passwd"),
        ("issuer", "https://"),
        ("issuer", "https://user:secret@id.example/"),
        ("issuer", "https://id.example/?a=b"),
        ("issuer", "https://id.example/ x"),
        ("issuer", "https://id.example/\nx"),
        ("issuer", "https://id.example:port/"),
        ("audiences", []),
        ("audiences", [""]),
        ("audiences", "dezky-portal"),
        ("audiences", [5]),
        ("audiences", None),
        ("algorithms", []),
        ("algorithms", ["RS256", "none"]),
        ("algorithms", ["HS256"]),
        ("algorithms", ["RS1"]),
        ("algorithms", ["ES512"]),
        ("algorithms", ["rs256"]),
        ("algorithms", "RS256"),
        ("surface", "admin"),
        ("surface", None),
        ("identityProvider", ""),
        ("jwksUri", "ftp://id.example/jwks"),
        ("jwks_url", "https://id.example/jwks"),
    ],
)
def test_a_member_that_makes_no_sense_stops_the_start_and_is_named(member, value):
    line = refusal(OPERATOR, PORTAL | {member: value})
    assert line.startswith("provider 2")
    assert f" {member}: " in line
    assert member == "issuer" or PORTAL["issuer"] in line


def test_the_four_algorithms_are_accepted():
    names = ("RS256", "PS256", "ES256", "EdDSA")
    (provider,) = Providers.from_settings([settings_of("https://id.example/", "a", algorithms=names)])
    assert provider.algorithms == set(names)


@pytest.mark.parametrize("entries", [[], "[]", {"issuer": "x"}])
def test_no_list_of_providers_stops_the_start(entries):
    with pytest.raises(ProviderConfigurationError):
        Providers.from_settings(entries)


@pytest.mark.parametrize("entry", [None, 5, "https://id.example/", []])
def test_an_entry_that_is_no_object_stops_the_start(entry):
    assert refusal(OPERATOR, entry).startswith("provider 2")


def test_a_provider_cannot_be_changed_after_the_start():
    (provider,) = Providers.from_settings([OPERATOR])
    with pytest.raises(ValueError, match="frozen"):
        provider.surface = "portal"
    assert isinstance(provider, Provider)
