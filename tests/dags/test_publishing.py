"""Releases of the site and what was decided about them, in the evidence store. (Here because that needs Airflow.)"""

import zipfile
from datetime import UTC, datetime, timedelta
from io import BytesIO
from pathlib import Path

import pytest

from lpm.clients.evidence import EvidenceError, EvidenceStore
from lpm.config import load_config
from lpm.config.contacts import load_contacts
from lpm.config.reviews import PageRule, Reviews
from lpm.site import releases
from lpm.site.publishing import Answer, Response, record
from lpm.site.releases import publish, read_live
from lpm.site.reviews import read_approvals, read_decisions
from lpm.site.serving import PublishedSite

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
RULES = Reviews(
    review_every_days=30,
    pages=(
        PageRule(pages="runbooks/*", owner="lpm-team", approvers=("lead",)),
        PageRule(pages="*", owner="lpm-team", approvers=("lpm-architect",)),
    ),
)
ASKED = {"runbooks/a.md": "digest a", "index.md": "digest i"}


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> EvidenceStore:
    monkeypatch.setenv("LPM_EVIDENCE", str(tmp_path / "evidence"))
    return EvidenceStore(load_config().environment("local"))


@pytest.fixture
def site(tmp_path: Path) -> Path:
    folder = tmp_path / "site"
    (folder / "runbooks").mkdir(parents=True)
    (folder / "index.html").write_text("one")
    (folder / "runbooks" / "a.html").write_text("a")
    (folder / "sitemap.xml").write_text("made on Monday")
    return folder


def published(store: EvidenceStore, site: Path, minutes: float = 0) -> bool:
    return publish(store, site, "somebody", "run 1", NOW + timedelta(minutes=minutes)).changed


def test_a_site_is_published_whole_and_only_when_it_says_something_else(store, site) -> None:
    assert read_live(store) is None
    assert published(store, site)
    live = read_live(store)
    assert (live.at, live.by, live.run) == (NOW, "somebody", "run 1")
    packed = zipfile.ZipFile(BytesIO(store.read_bytes(f"site/{live.digest}.zip")))
    assert sorted(packed.namelist()) == ["index.html", "runbooks/a.html", "sitemap.xml"]
    (site / "sitemap.xml").write_text("made on Tuesday")
    assert not published(store, site, 1), "the day of the build is no news"
    (site / "index.html").rename(site / "home.html")
    assert published(store, site, 2), "another name is another site"


def test_five_releases_are_kept_and_one_that_comes_back_is_kept_once(store, site) -> None:
    for number in range(8):
        (site / "index.html").write_text(f"release {number}")
        assert published(store, site, number)
    live = read_live(store)
    kept = [live.digest, *(one.digest for one in live.before)]
    assert sorted(store.names("site/")) == sorted(["site/live.json", *(f"site/{digest}.zip" for digest in kept)])
    assert len(set(kept)) == releases.KEPT
    (site / "index.html").write_text("release 6")
    assert published(store, site, 9)
    again = read_live(store)
    assert again.digest == kept[1]
    assert [one.digest for one in again.before] == [kept[0], *kept[2:]]


def test_a_publication_that_fails_leaves_the_site_as_it_was(store, site, monkeypatch) -> None:
    published(store, site)
    before, write = read_live(store), EvidenceStore.write

    def refuse(self: EvidenceStore, name: str, text: str) -> None:
        if name == releases.LIVE:
            raise EvidenceError("full")
        write(self, name, text)

    monkeypatch.setattr(EvidenceStore, "write", refuse)
    (site / "index.html").write_text("two")
    with pytest.raises(EvidenceError):
        published(store, site)
    assert read_live(store) == before
    assert store.read_bytes(releases.release_name(before.digest))


def response(answer: Answer, *logins: str, minutes: float = 0) -> Response:
    return Response(answer, logins, NOW + timedelta(minutes=minutes), "run 1", remark="looks | good")


def keep(store: EvidenceStore, given: Response):
    return record(store, RULES, load_contacts(), ASKED, given)


def test_whoever_approves_does_so_for_their_pages_only(store, monkeypatch) -> None:
    contacts = load_contacts()
    people = tuple(
        one.model_copy(update={"login": {"lead": "anna", "lpm-architect": "ben"}.get(one.id, "")})
        for one in contacts.contacts
    )
    known = contacts.model_copy(update={"contacts": people})
    outcome = record(store, RULES, known, ASKED, response(Answer.APPROVE, "anna", "17"))
    assert outcome.changed
    assert outcome.details == ("not approved: index.md",)
    assert {path: one.digest for path, one in read_approvals(store).pages.items()} == {"runbooks/a.md": "digest a"}
    record(store, RULES, known, ASKED, response(Answer.APPROVE, "ben", minutes=1))
    approvals = read_approvals(store).pages
    assert {path: (one.login, one.run) for path, one in approvals.items()} == {
        "runbooks/a.md": ("anna", "run 1"),
        "index.md": ("ben", "run 1"),
    }, "the earlier approval stays"


@pytest.mark.parametrize(
    ("given", "who"),
    [
        (response(Answer.DRAFT, "admin"), "admin"),
        (response(Answer.REJECT, "admin"), "admin"),
        (response(Answer.DRAFT), None),
        (response(Answer.APPROVE, "stranger"), "stranger"),
    ],
)
def test_anything_else_approves_nothing_and_is_kept_too(store, given, who) -> None:
    assert not keep(store, given).changed
    assert read_approvals(store).pages == {}
    (decision,) = read_decisions(store, 5)
    assert (decision.answer, decision.login, decision.at, decision.approved) == (given.answer, who, NOW, ())
    assert (decision.pages, decision.remark) == (ASKED, "looks | good")


def test_recording_the_same_answer_again_changes_nothing(store) -> None:
    for _ in range(2):  # a cleared task
        keep(store, response(Answer.APPROVE, "admin"))
    assert len(read_decisions(store, 5)) == 1
    assert len(read_approvals(store).pages) == 2


@pytest.fixture
def served(store: EvidenceStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> PublishedSite:
    monkeypatch.setattr("lpm.site.serving.ASK_AGAIN_SECONDS", 0)
    return PublishedSite(lambda: EvidenceStore(load_config().environment("local")), tmp_path / "cache")


def test_the_server_follows_the_releases_and_keeps_two(served, store, site, tmp_path) -> None:
    assert served.release() is None
    for number in range(4):
        (site / "index.html").write_text(f"release {number}")
        published(store, site, number)
        assert (served.release() / "index.html").read_text() == f"release {number}"
    assert len(list((tmp_path / "cache").iterdir())) == 2, "somebody may be reading from the one before"


def test_the_last_release_is_served_while_the_store_is_gone_also_after_a_restart(
    served, store, site, tmp_path, monkeypatch
) -> None:
    published(store, site)
    release = served.release()
    monkeypatch.delenv("LPM_EVIDENCE")
    assert served.release() == release

    def gone() -> EvidenceStore:
        raise EvidenceError("gone")

    assert PublishedSite(gone, tmp_path / "cache").release() == release
    with pytest.raises(EvidenceError):
        PublishedSite(gone, tmp_path / "empty").release()


def test_a_release_that_was_cleaned_away_is_unpacked_again(served, store, site) -> None:
    import shutil

    published(store, site)
    shutil.rmtree(served.release())
    assert (served.release() / "index.html").read_text() == "one"
