import re
from pathlib import Path

from parquedb.settings.access import AccessSettings

PAGE = Path(__file__).parents[4] / "docs" / "authentication.md"


def test_the_page_names_every_setting_and_no_other() -> None:
    tables = [line for line in PAGE.read_text().splitlines() if line.startswith("| `")]
    named = {
        name.lower()
        for line in tables
        for name in re.findall(r"`([A-Z][A-Z0-9]*_[A-Z0-9_]+|PROXIES)`", line.split("|")[1])
    }
    assert named == set(AccessSettings.model_fields)


def test_defaults_are_the_documented_ones() -> None:
    text, made = PAGE.read_text(), AccessSettings()
    for name, value in {
        "JWT_LEEWAY_S": made.jwt_leeway_s,
        "JWT_LIFETIME_MAX_S": made.jwt_lifetime_max_s,
        "JWT_BYTES_MAX": made.jwt_bytes_max,
        "TOKENS_CACHED_MAX": made.tokens_cached_max,
        "JWKS_REFRESH_S": made.jwks_refresh_s,
        "JWKS_STALE_S": made.jwks_stale_s,
        "JWKS_RETRY_S": made.jwks_retry_s,
        "API_KEY_CACHE_S": made.api_key_cache_s,
        "API_KEYS_CACHED_MAX": made.api_keys_cached_max,
        "CALLERS_MAX": made.callers_max,
        "CORS_MAX_AGE_S": made.cors_max_age_s,
        "HSTS_S": made.hsts_s,
    }.items():
        [line] = [line for line in text.splitlines() if line.startswith(f"| `{name}` ")]
        assert line.rstrip(" |").rsplit("|", 1)[1].strip() == f"{value:.0f}", name
