"""Opens the dashboard of a real cluster in a real browser and does what people do with it.

    python tests/browser/dashboard.py --binaries target/release [--screenshots DIR]

Needs Chromium with its driver, openssl, and the Python package selenium (for screenshots also pillow). Starts a
coordinator and three workers over TLS on this machine's loopback interface. Prints one line per check; exits with 1 if
one failed.
"""

import argparse
import sys
import tempfile
import traceback
from pathlib import Path

sys.dont_write_bytecode = True  # no files are left next to the sources

from selenium.webdriver.common.keys import Keys

import modules
from cluster import Cluster
from page import DESKTOP, PHONE, Page

WORKERS = ["anna", "bert", "carl"]
OWNER, OTHER = "alice", "bob"
SHARDS = set(range(8))
PICTURE_STEPS = 150
NOTICES = 1000


class Checks:
    """The checks in their order; each public method is one, and its name a sentence about the dashboard."""

    def __init__(self, cluster, page, screenshots):
        self.cluster, self.page, self.screenshots = cluster, page, screenshots

    def an_empty_coordinator_says_how_to_submit_a_job(self):
        self.cluster.start_coordinator()
        self.page.driver.get(self.cluster.url)
        self.page.wait(lambda: "No jobs yet" in self.page.visible("#welcome-title"), "the page says so")
        assert "lookbehind submit" in self.page.text("#welcome-command")
        assert any("No workers" in text for text in self.page.visible("#workers-empty"))

    def workers_and_a_new_job_appear_by_themselves(self):
        for name in WORKERS:
            self.cluster.start_worker(name)
        self.job = self.cluster.submit(OWNER)
        self.page.wait(lambda: self.page.state() == "running", "the job runs")
        self.page.wait(lambda: self._listed_workers() == WORKERS, "all workers are listed")
        assert self.job in self.page.text("#job-meta")
        assert OWNER in self.page.text("#job-meta")

    def the_curve_grows(self):
        first = self.page.wait(self.page.outer_step, "the curves have a step")
        self.page.wait(lambda: self.page.outer_step() >= first + 10, "the curves have ten steps more")
        assert self.page.drawn("#curves canvas") > 4, "the canvas of the loss is empty"

    def the_table_says_what_the_curves_show(self):
        self.page.script("document.querySelector('#curves-values').open = true")
        rows = self.page.wait(lambda: self.page.rows("#curves-table"), "the table has rows")
        step, _, loss, perturbed, sharpness = rows[0][:5]
        assert int(step.replace(",", "")) > 1
        assert abs(float(perturbed) - float(loss) - float(sharpness)) < 2e-3, rows[0]
        self.page.script("document.querySelector('#curves-values').open = false")

    def arrow_keys_read_the_curve_aloud(self):
        self.page.tab_to("Loss")
        assert self.page.focus_ring(), "the focus cannot be seen"
        self.page.press(Keys.HOME)
        self.page.wait(lambda: "Loss, outer step 1: slow weights" in self.page.text("#announcer"), "step 1 is read")
        self.page.press(Keys.ARROW_RIGHT)
        self.page.wait(lambda: "outer step 2: slow weights" in self.page.text("#announcer"), "step 2 is read")
        self.page.press(Keys.ESCAPE)

    def arrow_keys_read_the_timeline(self):
        self.page.tab_to("Timeline of the newest outer steps")
        self.page.press(Keys.ARROW_RIGHT)
        self.page.wait(lambda: f"{WORKERS[0]}: shard" in self.page.text("#timeline-readout"), "the first bar is read")
        self.page.press(Keys.ESCAPE)

    def all_workers_share_the_shards_of_a_step(self):
        steps = self.page.wait(lambda: self._shards_by_worker(WORKERS), "all workers compute shards of one step")
        assert set().union(*steps.values()) == SHARDS, steps

    def steering_needs_signing_in(self):
        assert self.page.text("#account-name") == "Read-only"
        assert self._buttons() == []
        assert self._steer_with_fetch() == 401
        assert self.page.state() == "running"

    def a_wrong_token_is_refused_in_words(self):
        self._sign_in("not-a-token")
        self.page.wait(lambda: "not signed in" in self.page.text("#sign-in-problem"), "the refusal is shown")
        self.page.press(Keys.ESCAPE)

    def another_user_may_look_and_not_steer(self):
        self._sign_in(self.cluster.token(OTHER))
        self.page.wait(lambda: self.page.text("#account-name") == f"{OTHER}, user", "the other user is signed in")
        assert self._buttons() == []
        self.page.tab_to("Sign out")
        self.page.press(Keys.ENTER)
        self.page.wait(lambda: self.page.text("#account-name") == "Read-only", "no user is signed in")

    def a_killed_worker_is_reported_and_the_others_take_its_shards(self):
        dead, *alive = WORKERS
        self.cluster.kill(dead)
        self.page.wait(lambda: self._lost_event(dead), "the event of the lost worker")
        self.page.wait(lambda: self._listed_workers() == alive, "only the others are listed")
        assert any(dead in text for text in self.page.visible("#workers tr[data-lost] th"))
        before = self.page.outer_step()
        self.page.wait(lambda: self.page.outer_step() > before + 5, "the curve grows on")
        steps = self.page.wait(lambda: self._shards_by_worker(alive), "the others compute all shards of one step")
        assert set().union(*steps.values()) == SHARDS, steps

    def a_phone_shows_everything_without_scrolling_sideways(self):
        for width in (PHONE[0], 360):
            self.page.resize(width, PHONE[1], 2)
            self.page.wait(self.page.fits, "the curves are drawn again")
            assert self.page.sideways() == 0, f"{self.page.sideways()} pixels too wide at {width}"
        self._picture("phone.png", (PHONE[0], 1500), "light", 2)
        self.page.resize(*DESKTOP)

    def dark_and_light_follow_the_system(self):
        for scheme, expected in (("dark", lambda value: value < 60), ("light", lambda value: value > 200)):
            self.page.scheme(scheme)
            self.page.wait(lambda: expected(self.page.background()), f"the page is {scheme}")
            self._picture(f"desktop-{scheme}.png", (DESKTOP[0], 1250), scheme)

    def the_owner_signs_in(self):
        self._sign_in(self.cluster.token(OWNER))
        self.page.wait(lambda: self.page.text("#account-name") == f"{OWNER}, user", "the owner is signed in")
        self.page.wait(lambda: self._buttons() == ["Pause", "Cancel job"], "the owner may steer")

    def the_owner_pauses_and_resumes(self):
        self.page.tab_to("Pause")
        self.page.press(Keys.ENTER)
        self.page.wait(lambda: self.page.state() == "paused", "the job is paused")
        self.page.tab_to("Resume")
        self.page.press(Keys.ENTER)
        before = self.page.outer_step()
        self.page.wait(lambda: self.page.state() == "running" and self.page.outer_step() > before, "the job goes on")

    def the_owner_cancels_by_keyboard_alone(self):
        self.page.tab_to("Cancel job")
        self.page.press(Keys.ENTER)
        self.page.wait(lambda: self.page.visible("#cancel-title") != [], "the page asks")
        assert self.page.focused() == "Keep it", "a careless Enter must keep the job"
        self.page.press(Keys.TAB)
        assert self.page.focused() == "Cancel job"
        self.page.press(Keys.ENTER)
        self.page.wait(lambda: "digits is cancelled" in self.page.text("#announcer"), "the coordinator acknowledged it")
        self.page.wait(lambda: self.page.state() == "cancelled", "the job is cancelled")
        self.page.wait(lambda: self._buttons() == ["Retry"], "it can only be tried again")
        assert self.cluster.job(self.job, OWNER)["state"] == "cancelled"

    def a_coordinator_that_comes_back_is_found_again(self):
        self.cluster.kill("coordinator")
        self.page.wait(lambda: self.page.text("#live-text") == "Disconnected", "the page says that it is disconnected")
        self.page.wait(lambda: self.page.visible("#banner-button") == ["Try now"], "it can be tried again")
        self.cluster.start_coordinator()
        self.page.wait(lambda: self.page.text("#live-text") == "Live", "the page is live again")
        self.page.wait(lambda: self.page.state() == "cancelled", "the job is still there")

    def an_address_leads_to_a_job(self):
        address = f"{self.cluster.url}/#/jobs/{self.job}"
        self.page.driver.get("about:blank")
        self.page.driver.get(address)
        self.page.wait(lambda: self.job in self.page.text("#job-meta"), "the job is shown")
        self.page.driver.get(f"{self.cluster.url}/#/jobs/no-such-job")
        self.page.wait(
            lambda: "This job cannot be shown" in self.page.visible("#welcome-title"), "that it is not there"
        )

    def a_job_that_waits_says_for_what(self):
        waiting = self.cluster.submit(OWNER, "--label", "study=first", change=self._waiting("lr=0.1"))
        self.page.driver.get(f"{self.cluster.url}/#/jobs/{waiting}")
        self.page.wait(
            lambda: "Waits for workers: it needs 9" in self.page.text("#job-message"), "the page says what it waits for"
        )
        assert "study=first" in self.page.text("#job-meta")

    def among_fifty_jobs_the_page_opens_on_the_one_that_runs(self):
        for _ in range(24):
            self.cluster.submit(OWNER, change=self._waiting("waits"))
        self.running = self.cluster.submit(OWNER, change=self._with_many_notices)
        for _ in range(24):
            self.cluster.submit(OWNER, change=self._waiting("waits"))
        self.page.wait(lambda: self.cluster.job(self.running, OWNER)["state"] == "running", "the job runs")
        self.page.driver.get("about:blank")
        self.page.driver.get(self.cluster.url)
        self.page.wait(lambda: self.running in self.page.text("#job-meta"), "the running job is shown")
        self.page.wait(lambda: len(self.page.visible("#job-list li")) >= 50, "all jobs are listed")
        first = self.page.script("return document.querySelector('#job-list a').getAttribute('href')")
        assert first.endswith(self.running), first

    def a_thousand_notices_neither_fill_the_page_nor_hide_what_matters(self):
        for number in range(100, NOTICES + 1, 100):
            is_there = lambda number=number: self.cluster.job(self.running, OWNER)["revision"] > number  # noqa: E731
            self.page.wait(is_there, f"{number} notices are there")
        self.page.wait(lambda: self.page.outer_step() > NOTICES // 2, "the curves are there")
        for size, most in ((DESKTOP, 2), (PHONE, 6)):
            self.page.resize(*size)
            self.page.wait(self.page.fits, "the curves are drawn again")
            assert self.page.height() <= most, f"{self.page.height()} windows high at {size}"
            assert self.page.scrolls_over_nothing() == [], self.page.scrolls_over_nothing()
        self.page.resize(*DESKTOP)
        notices = self.page.visible("#notices li")
        assert any("training from outer step 0" in text for text in notices), notices
        assert sum("checkpoint of outer step" in text for text in notices) == 1, notices
        events = self.page.visible("#events li")
        assert any("worker joined" in text for text in events), events
        assert not any("checkpoint of outer step" in text for text in events), events
        assert self.page.visible("#job-message") == [], "what it said when it began is out of date"

    def a_job_is_found_by_its_label_and_by_a_part_of_its_name(self):
        self.page.script("document.querySelector('.find').open = true")
        self._find("find-label", "study=first", 1)
        self._find("find-label", "", 50)
        self._find("find-name", "LR=", 1)
        self._find("find-name", "", 50)

    def the_modules_keep_their_promises(self):
        broken = modules.broken(self.page.driver)
        assert broken == [], broken

    def the_browser_has_no_complaints(self):
        complaints = self.page.complaints()
        assert complaints == [], complaints

    # What several checks need

    @staticmethod
    def _waiting(name):
        """A change that makes the job wait for more workers than there are."""
        return lambda text: text.replace('"digits"', f'"{name}"', 1) + "[resources]\nmin_workers = 9\n"

    @staticmethod
    def _with_many_notices(text):
        """A change that makes outer steps short, with a checkpoint after each of them."""
        short = {"[512, 512]": "[8]", "batch_size = 512": "batch_size = 32", "shards = 8": "shards = 1"}
        for long, shorter in short.items():
            text = text.replace(long, shorter)
        return text + "[checkpoint]\nevery_steps = 1\n"

    def _find(self, field, text, expected):
        """Types into a field, and waits until this number of jobs is listed, or more if it is the whole list."""
        self.page.script(
            """const field = document.getElementById(arguments[0]);
            field.value = arguments[1];
            field.dispatchEvent(new Event('input', { bubbles: true }))""",
            field,
            text,
        )
        found = lambda: len(self.page.visible("#job-list li"))  # noqa: E731
        is_there = (lambda: found() >= expected) if text == "" else (lambda: found() == expected)
        self.page.wait(is_there, f"{expected} jobs for {text!r}")

    def _buttons(self):
        return self.page.visible("#job-actions button")

    def _listed_workers(self):
        return sorted(self.page.visible("#workers tr.worker:not([data-lost]) th"))

    def _lost_event(self, name):
        return any("worker lost" in text and name in text for text in self.page.visible("#events li"))

    def _shards_by_worker(self, workers):
        """The shards of one gradient that each worker computed, once exactly these did: from the timeline's table."""
        self.page.script("document.querySelector('#timeline-values').open = true")
        rows = [row for row in self.page.rows("#timeline-table") if row[7] == "used" and row[1] == "gradient 1"]
        for step in {row[0] for row in rows}:
            found = {}
            for row in rows:
                if row[0] == step:
                    first, last = map(int, row[3].split("–"))
                    found.setdefault(row[2], set()).update(range(first, last + 1))
            if sorted(found) == workers:
                return found
        return None

    def _sign_in(self, token):
        self.page.tab_to("Sign in")
        self.page.press(Keys.ENTER)
        self.page.wait(lambda: self.page.visible("#sign-in-title") != [], "the page asks for a token")
        self.page.press(token, Keys.ENTER)

    def _steer_with_fetch(self):
        return self.page.driver.execute_async_script(
            """const [id, done] = arguments;
            const request = { method: 'POST', headers: { 'content-type': 'application/json' }, body: '{}' };
            fetch(`/api/jobs/${id}/cancel`, request)
              .then((answer) => done(answer.status), (error) => done(String(error)))""",
            self.job,
        )

    def _picture(self, name, size, scheme, scale=1):
        if self.screenshots is None:
            return
        self.page.wait(lambda: self.page.outer_step() >= PICTURE_STEPS, "the curves have enough steps for a picture")
        self.page.script("document.activeElement.blur(); scrollTo(0, 0)")
        # Keys that went through the lists have scrolled them.
        self.page.script("for (const list of document.querySelectorAll('.scroll, .job-list')) list.scrollTop = 0")
        self.page.script("for (const details of document.querySelectorAll('details')) details.open = false")
        self.page.resize(*size, scale)
        self.page.scheme(scheme)
        self.page.wait(self.page.fits, "the curves are drawn again")
        drawn = self.page.outer_step()
        self.page.wait(lambda: self.page.outer_step() >= drawn + 10, "everything was drawn once more")
        self.page.screenshot(self.screenshots / name)


def run(checks):
    """Runs the checks in their order; those after a failed one still say what they find."""
    passed = failed = 0
    for name in (name for name in vars(Checks) if not name.startswith("_")):
        sentence = name.replace("_", " ")
        try:
            getattr(checks, name)()
        except Exception:  # whatever went wrong, it is this check that failed
            failed += 1
            print(f"FAILED: {sentence}\n{traceback.format_exc()}", flush=True)
        else:
            passed += 1
            print(f"ok: {sentence}", flush=True)
    return passed, failed


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--binaries", type=Path, required=True, help="folder with the three programs")
    parser.add_argument("--screenshots", type=Path, help="folder for desktop-light.png, desktop-dark.png and phone.png")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="lookbehind-browser-", ignore_cleanup_errors=True) as folder:
        with Cluster(arguments.binaries, folder, WORKERS, [OWNER, OTHER]) as cluster:
            certificate = cluster.credentials / "coordinator" / "cert.pem"
            with Page(certificate, Path(folder) / "profile") as page:
                passed, failed = run(Checks(cluster, page, arguments.screenshots))
            if failed > 0:
                for log in sorted(Path(folder).glob("*.log")):
                    print(f"--- {log.name}\n{cluster.log(log.stem)}")
    print(f"{passed} passed, {failed} failed")
    sys.exit(1 if failed > 0 else 0)


if __name__ == "__main__":
    main()
