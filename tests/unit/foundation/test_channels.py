"""The tables ``[notifications.NAME]``: what they may say, what is refused, and what is never shown."""

import pytest

from flowstone.foundation.channels import CAUSES
from flowstone.foundation.errors import SettingsError
from flowstone.foundation.settings import load


@pytest.fixture
def read(tmp_path):
    """A function that loads settings from the text of a file."""

    def settings(text, **more):
        (tmp_path / "flowstone.toml").write_text(text)
        return load(start=tmp_path, variables=more.pop("variables", {}), **more)

    return settings


def test_what_a_channel_may_say(read):
    """Every type has its keys; without ``on`` a channel hears of everything."""
    found = read("""
        [notifications.chat]
        type = "slack"
        url = "secret:SLACK_URL"
        [notifications.cards]
        type = "teams"
        url = "https://hooks.example.com/T0/token"
        on = "run.failed"
        [notifications.own]
        type = "webhook"
        url = "http://hooks.example:8080/hook"
        secret = "secret:HOOK"
        allow_private = true
        allow_http = true
        on = ["run.failed", "run.failed", "asset.overdue"]
        [notifications.pager]
        type = "command"
        command = ["/usr/bin/page", "--team", "data"]
        [notifications.lines]
        type = "log"
        on = []
    """).channels

    assert list(found) == ["chat", "cards", "own", "pager", "lines"]
    assert (found["chat"].url, found["chat"].on, found["chat"].allow_private) == ("secret:SLACK_URL", tuple(CAUSES), False)
    assert found["cards"].on == ("run.failed",)
    assert (found["own"].secret, found["own"].on) == ("secret:HOOK", ("run.failed", "asset.overdue"))
    assert (found["own"].allow_private, found["own"].allow_http) == (True, True)
    assert found["pager"].command == ("/usr/bin/page", "--team", "data")
    assert found["lines"].on == ()


def test_an_environment_changes_single_keys(read):
    """What an environment says of a channel replaces that alone; any channel can be made lines of the log there, or nothing."""
    text = """
        [notifications.chat]
        type = "slack"
        url = "https://hooks.example.com/T0/token"
        [environments.test.notifications.chat]
        type = "log"
        [environments.quiet.notifications.chat]
        on = []
    """

    assert read(text, environment="test").channels["chat"].type == "log"
    assert read(text, environment="quiet").channels["chat"].on == ()
    assert read(text).channels["chat"].type == "slack"


def test_what_is_shown_of_a_channel(read):
    """Each value has its source; of an address that is written out, and may be a secret itself, the place alone is shown."""
    text = """
        [notifications.chat]
        type = "slack"
        url = "https://hooks.example.com:8443/T0/token?key=token"
        [environments.prod.notifications.chat]
        on = ["run.failed"]
    """
    rows = {key: (value, source) for key, value, source in read(text, environment="prod").rows() if key.startswith("notif")}

    assert rows == {
        "notifications.chat.type": ("slack", "flowstone.toml"),
        "notifications.chat.on": (["run.failed"], "environment prod"),
        "notifications.chat.url": ("https://hooks.example.com:8443/***", "flowstone.toml"),
    }


CHAT = '[notifications.chat]\ntype = "slack"\n'


@pytest.mark.parametrize(
    ("text", "said", "hint"),
    [
        ('[notifications.chat]\nurl = "secret:A"', "notifications.chat has no type", "one of slack, teams, webhook"),
        ('[notifications.chat]\ntype = "slak"', "'slak': one of", "did you mean 'slack'?"),
        ('[notifications.chat]\ntypo = "slack"', "unknown setting 'notifications.chat.typo'", "did you mean 'type'?"),
        ('[notifications]\nchat = "slack"', "notifications.chat = 'slack' must be a table", "[notifications.NAME]"),
        ("notifications = 3", "must be a table", "[notifications.NAME]"),
        ('[notifications."my chat"]\ntype = "log"', "'my chat' cannot name a channel", "lower-case letters"),
        (CHAT, "is of type slack and has no url", "add url = ..."),
        (f"{CHAT}url = 3", "notifications.chat.url = 3: a text is needed", "https://"),
        (f'{CHAT}url = "ftp://x"', "is no https:// URL", "https://"),
        (f'{CHAT}url = "https://"', "is no https:// URL", "https://"),
        (f'{CHAT}url = "https://x:port/"', "is no URL", "https://"),
        (f'{CHAT}url = "https://x:0/"', "is no https:// URL", "https://"),
        (f'{CHAT}url = "https://u:token@x/"', "has a user or a password", "without them"),
        (f'{CHAT}url = "https://x/a b"', "has characters no URL has", "percent-encode"),
        (f'{CHAT}url = "http://x/"', "is not encrypted", "allow_http = true"),
        (f'{CHAT}url = "https://x"\nsecret = "secret:A"', "chat.secret means nothing for type slack", "remove it"),
        (f'{CHAT}url = "https://x"\non = ["run.fail"]', "'run.fail' is nothing", "did you mean 'run.failed'?"),
        (f'{CHAT}url = "https://x"\non = 7', "a list of texts is needed", None),
        (f'{CHAT}url = "https://x"\nallow_private = "yes"', "true or false is needed", None),
        ('[notifications.h]\ntype = "webhook"\nurl = "https://x"', "has no secret", "add secret = ..."),
        ('[notifications.h]\ntype = "webhook"\nurl = "https://x"\nsecret = "token"', "a reference to a secret", "secret:NAME"),
        ('[notifications.h]\ntype = "command"\ncommand = "page now"', "a list of words is needed", "/usr/bin/page"),
        ('[notifications.h]\ntype = "command"\ncommand = []', "a list of words is needed", "/usr/bin/page"),
        ("[environments.prod.notifications.h]\ntypo = 1", "unknown setting 'notifications.h.typo'", "did you mean 'type'?"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused(read, text, said, hint):
    """A table that cannot be a channel is one clear error, which never repeats what may be a secret."""
    with pytest.raises(SettingsError) as refused:
        read(text, environment="prod" if "environments" in text else None)

    assert said in refused.value.message
    assert hint is None or hint in refused.value.hint
    assert "token" not in str(refused.value)


def test_no_variable_sets_a_channel(read):
    """Channels are the file's; a variable that would set one is unknown."""
    with pytest.raises(SettingsError, match="unknown environment variable FLOWSTONE_NOTIFICATIONS_CHAT_TYPE"):
        read("", variables={"FLOWSTONE_NOTIFICATIONS_CHAT_TYPE": "log"})
