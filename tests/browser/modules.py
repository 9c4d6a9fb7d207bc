"""What single modules of the dashboard promise, checked inside the page: a sentence, and a script that returns what it
came to and what it should come to."""

IMPORT = """
const done = arguments[0];
import('/static/{module}').then(async (m) => {{ {body} }}).then(done, (error) => done([String(error), null]));
"""

PROMISES = {
    "a long run keeps its first, its newest and all its test steps": (
        "series.js",
        """
        const series = new m.Series();
        for (let i = 1; i <= 20000; i++) series.append([{ outer_step: i, ...(i % 500 === 0 && { test: {} }) }]);
        const steps = series.steps;
        const tests = steps.filter((step) => step.test).length;
        return [[steps.length <= 4000, steps[0].outer_step, series.newest.outer_step, tests], [true, 1, 20000, 40]];
        """,
    ),
    "a step that the page has already is not taken twice": (
        "series.js",
        """
        const series = new m.Series();
        series.append([{ outer_step: 1 }, { outer_step: 2 }]);
        series.append([{ outer_step: 2 }, { outer_step: 3 }]);
        return [series.steps.map((s) => s.outer_step), [1, 2, 3]];
        """,
    ),
    "events that arrive in pieces are read whole": (
        "stream.js",
        """
        const first = ': a comment\\n\\nevent: steps\\r\\ndata: "α\\r\\ndata: β"\\r\\n\\r\\n';
        const bytes = [...new TextEncoder().encode(`${first}data: 1\\n\\ndata: unfinished`)];
        const body = new ReadableStream({
          pull(sink) { bytes.length > 0 ? sink.enqueue(Uint8Array.of(bytes.shift())) : sink.close(); },
        });
        const found = [];
        for await (const event of m.readEvents(body, () => {})) found.push([event.name, event.data]);
        return [found, [['steps', '"α\\nβ"'], ['message', '1']]];
        """,
    ),
    "waits between attempts grow and have a limit": (
        "stream.js",
        """
        const waits = [0, 1, 2, 3, 100].map((failures) => m.backoff(failures, 0.5));
        return [waits, [500, 1000, 2000, 4000, 15000]];
        """,
    ),
    "values that are not known are dashes": (
        "format.js",
        """
        const found = [m.steady(null), m.number(NaN), m.percent(undefined), m.span(null), m.rough(Infinity)];
        return [found, Array(5).fill('–')];
        """,
    ),
    "times of the coordinator are read to the millisecond": (
        "format.js",
        """
        const found = [m.millis('2023-11-14T22:13:20.005Z'), m.millis('2023-11-14T22:13:20Z'), m.moment(m.millis())];
        return [found, [1700000000005, 1700000000000, '–']];
        """,
    ),
    "ticks do not run into each other": (
        "canvas.js",
        """
        const marks = [0, 10, 25, 30, 60].map((at) => ({ at, size: 20 }));
        return [m.apart(marks).map((mark) => mark.at), [0, 25, 60]];
        """,
    ),
    "of routine notices only the newest is kept and of the others the newest two hundred": (
        "events.js",
        """
        const notices = Array.from({ length: 1000 }, (_, i) => ({ revision: i, routine: i % 2 === 1 }));
        const kept = m.newestNotices(notices);
        return [[kept.length, kept.filter((notice) => notice.routine).map((n) => n.revision)], [200, [999]]];
        """,
    ),
    "fields that are empty are no part of a query": (
        "find.js",
        """
        const found = [m.query({ state: '', name: 'lr=0.1 k', label: '' }, 'u7'), m.query({ state: '', name: '' })];
        return [found, ['name=lr%3D0.1+k&page_token=u7', '']];
        """,
    ),
    "sharpness is known where both losses are": (
        "series.js",
        """
        const steps = [{ loss: 0.5, last_loss: 0.75 }, { loss: 0.5, last_loss: null }, undefined];
        return [steps.map(m.sharpness), [0.25, null, null]];
        """,
    ),
    "a lost part takes no share of a lane and the others wait for its shards": (
        "timeline_layout.js",
        """
        const shard = { first_shard: 0, end_shard: 1, assigned: 0, compute: 0.5, data: 0 };
        const lost = { ...shard, worker: 'a', outcome: 'lost' };
        const parts = [lost, { ...shard, worker: 'b', delivered: 1, outcome: 'used' }];
        const requests = [{ index: 0, kind: 'gradient', shards: 1, begun: 0, gathered: 2, advanced: 3, parts }];
        const layout = m.layOut([{ outer_step: 7, total: 3, requests }]);
        const bars = layout.bars.map((bar) => [bar.lane, bar.kind, bar.from, bar.to, bar.segments?.length ?? 0]);
        const expected = [
          ['a', 'part', 0, 2, 0], ['b', 'part', 0, 1, 3], ['b', 'waiting', 1, 2, 0],
          ['coordinator', 'optimizer', 2, 3, 0],
        ];
        return [[bars, layout.steps[0].lossy], [expected, true]];
        """,
    ),
}


def broken(driver):
    """Sentences that do not hold, each with what was found."""
    found = []
    for sentence, (module, body) in PROMISES.items():
        result, expected = driver.execute_async_script(IMPORT.format(module=module, body=body))
        if result != expected:
            found.append(f"{sentence}: expected {expected}, found {result}")
    return found
