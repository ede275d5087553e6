"""The HTML that people see. No script, no picture, no font: it reads the same everywhere."""

from base64 import b64encode
from hashlib import sha256
from html import escape
from string import Template

from starlette.responses import HTMLResponse

STYLE = (
    "body{font:1rem/1.5 system-ui,sans-serif;max-width:24rem;margin:12vh auto;padding:0 1rem;color:#1b1f24;"
    "background:#fff}label{display:block;margin-top:1rem}input{font:inherit;width:100%;box-sizing:border-box;"
    "padding:.5rem;border:1px solid #57606a;border-radius:.25rem}button{font:inherit;margin-top:1.5rem;"
    "padding:.5rem 1.5rem;border:0;border-radius:.25rem;background:#1a4fa0;color:#fff}"
    "[role=alert]{padding:.5rem 1rem;border-left:.25rem solid #a40e26;background:#fff0f0}"
)
STYLE_HASH = b64encode(sha256(STYLE.encode()).digest()).decode()
HEADERS = {
    "Cache-Control": "no-store",
    # No form-action: browsers hold it against the redirect that follows the form, and that leads to the client.
    "Content-Security-Policy": (
        f"default-src 'none'; style-src 'sha256-{STYLE_HASH}'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
PAGE = Template(
    '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>$title</title>'
    '<meta name="viewport" content="width=device-width, initial-scale=1"><style>$style</style></head>'
    "<body><main><h1>$title</h1>$content</main></body></html>"
)
FORM = Template(
    '$alert<form method="post"><input type="hidden" name="csrf" value="$csrf">$fields'
    '<button type="submit">$button</button></form>'
)
LOGIN_FIELDS = Template(
    '<label for="username">User name</label><input id="username" name="username" value="$username" required'
    ' autocomplete="username" autocapitalize="none" spellcheck="false" autofocus>'
    '<label for="password">Password</label><input id="password" name="password" type="password" required'
    ' autocomplete="current-password">'
)
PASSWORD_FIELDS = (
    '<label for="password">New password</label><input id="password" name="password" type="password" required'
    ' autocomplete="new-password" autofocus>'
)


def page(title: str, content: str, status: int = 200) -> HTMLResponse:
    """`content` is HTML; the title is text."""
    html = PAGE.substitute(title=escape(title), style=STYLE, content=content)
    return HTMLResponse(html, status, HEADERS)


def message(title: str, text: str, status: int = 200) -> HTMLResponse:
    return page(title, f"<p>{escape(text)}</p>", status)


def login_form(csrf: str, username: str = "", alert: str = "", status: int = 200) -> HTMLResponse:
    fields = LOGIN_FIELDS.substitute(username=escape(username))
    return page("Sign in", _form(csrf, fields, "Sign in", alert), status)


def password_form(csrf: str, alert: str = "", status: int = 200) -> HTMLResponse:
    return page("Choose a password", _form(csrf, PASSWORD_FIELDS, "Save", alert), status)


def _form(csrf: str, fields: str, button: str, alert: str) -> str:
    shown = f'<p role="alert">{escape(alert)}</p>' if alert else ""
    return FORM.substitute(alert=shown, csrf=escape(csrf), fields=fields, button=button)
