"""A mutant of the script for each rule of the join; the comparison with the oracle must catch every one."""

from collections import deque
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import msgspec
import pytest
from hypothesis import Phase, given, seed, settings
from hypothesis import strategies as st
from hypothesis.errors import FlakyFailure

import streams
from deploy.embedded.servers import start_store
from streams.errors import ShadowstreamError
from streams.join.step import Rules
from streams.join.store import Store
from tests.property.join.steps import REAL, Plan, agree, plans_, policies, slacks

SCRIPT = (Path(streams.__file__).parent / "join" / "join.lua").read_text()
pytestmark = pytest.mark.long
MUTANTS = [
    ("a step sent twice changes the state once", "if meta.token == token then", "if false then"),
    ("a partition is compare-and-set", "tp[NEXT] == move[2]", "true"),
    ("every step chains", "redis.sha1hex(meta.chain .. token)", "redis.sha1hex(token)"),
    ("too late is checked for predictions", "if t + window + keep < W then return too_late('prediction_too_late', id, t) end", ""),
    ("too late is checked for outcomes", "if t + window + keep < W then return too_late('outcome_too_late', id, t) end", ""),
    ("too late counts from the end of keep", "t + window + keep < W then return too_late('pred", "t + window < W then return too_late('pred"),
    ("too late while its partition was silent is told apart", "[NEWEST] - slack < t + window + keep then", "[NEWEST] - slack < t then"),
    ("a second prediction is a duplicate", "if state ~= 'e' then --", "if false then --"),
    ("another prediction of an id is a conflict", "other ~= '' and other ~= cut(new, 2)", "false"),
    ("an equal copy is no conflict", "other ~= '' and other ~= cut(new, 2)", "other ~= ''"),
    ("a settled id has no content to compare", "other ~= '' and other ~= cut(new, 2)", "other ~= cut(new, 2)"),
    ("a done id takes no outcome", "if state == 'd' then return add('outcome_duplicate', 1) end", "if state == 'd' then entry, state = false end"),
    ("an early outcome waits", "entries[id], touched[id] = 'o' .. middle, true", "entries[id] = nil"),
    ("further early outcomes wait", "  put(id, 'e' .. whole(first)", "  local _ = ('e' .. whole(first)"),
    ("an early outcome may be late, alone", "if label_t <= t + window then", "if true then"),
    ("at_close keeps an early outcome", "if byte(entry) == EARLY and not at_close then", "if byte(entry) == EARLY then"),
    ("an early outcome may be late", "split(outcomes, t + window)\n  local tail", "outcomes, {}\n  local tail"),
    ("the deadline itself is on time", "one[1] <= deadline and first", "one[1] < deadline and first"),
    ("on time up to the deadline", "local on_time = t <= deadline", "local on_time = t < deadline"),
    ("late outcomes are counted by policy", "if not on_time and not correct then return vanished('late', 1, id, t - t_prediction) end", ""),
    ("late ones do not correct unless the policy says so", "t > t_prediction + window and not correct then", "false then"),
    ("at_close keeps an outcome", "if on_time and not at_close then", "if on_time then"),
    ("at_close keeps an outcome of a prediction that waits alone", "if byte(entry) == WAITING and not at_close then", "if byte(entry) == WAITING then"),
    ("the shortest way is for what is on time", "if t_prediction <= t and t <= t_prediction + window then", "if t_prediction <= t then"),
    ("copies are not kept twice", "if one[1] == t and one[2] == label then return false end", ""),
    ("no more than `most` are kept", "if #outcomes <= most then return true end", "do return true end"),
    ("the last are kept for `last`", "reduce == 'last' and 1 or #outcomes", "#outcomes"),
    ("first is the earliest", "return middle_of(id, first[2], first[1])", "return middle_of(id, last[2], last[1])"),
    ("last is the latest", "return middle_of(id, last[2], last[1]) end", "return middle_of(id, first[2], first[1]) end"),
    ("sum adds", "sum = sum + (", "sum = 0 * sum + ("),
    ("a window closes after its deadline", "not all and time_of(item) >= late then", "not all and time_of(item) > late then"),
    ("only the entry's own window closes it", "if open and t + window == time_of(closed[i]) then", "if open then"),
    ("absence is a negative by policy", "  if not negative then\n", "  if true then\n"),
    ("a negative is provisional", "  put(id, 'p' .. tail)\n", "  put(id, 'd')\n"),
    ("a late outcome corrects at once", "  if #late > 0 then\n    add('late', -#late)", "  if false then\n    add('late', -#late)"),
    ("a corrected id outlives its first marker", "put(id, 'd' .. whole(drop))", "put(id, 'd')"),
    ("markers are dropped", "then put(id, false) end\nend\n\n-- Write", "then end\nend\n\n-- Write"),
    ("provisional entries are dropped", "state == 'p' or state == 'u' or (state", "state == 'u' or (state"),
    ("unlabelled entries are dropped", "state == 'p' or state == 'u' or (state", "state == 'p' or (state"),
    ("an outcome after its closed window is no duplicate", "if state == 'u' then", "if false then"),
    ("its copy is a duplicate", "    put(id, 'd')\n    return vanished('outcome_closed'", "    return vanished('outcome_closed'"),
    ("how late is counted from the prediction", "1, id, t - tonumber(cut(entry, 2)))", "1, id, t)"),
    ("half of its recent events say a partition's time", "math.floor((#sorted + 1) / 2)", "#sorted"),
    ("no event's time counts past the store's clock", "math.min(median(all), now)", "median(all)"),
    ("nor that of a silent partition's last event", "math.min(all[#all], now)", "all[#all]"),
    ("nor does silence lift it past that clock", "math.min(largest + elapsed, now)", "largest + elapsed"),
    ("a partition is heard once there are some events", "#all >= HEARD", "true"),
    ("the last event of a silent partition counts alone", "if move[12] == 1 then rest(move[1], tp) end", ""),
    ("recent events are kept over steps", "recents[name] and #times < RECENT and cmsgpack.unpack(recents[name]) or {}", "{}"),
    ("and the oldest make room", "all = {unpack(all, #all - RECENT + 1)}", "all = {unpack(all, 1, RECENT)}"),
    ("the marker outlives the outcome", "if t_prediction <= t and t <=", "if t <="),
    ("the watermark never falls", "W = math.max(W, least)", "W = least"),
    ("slack is taken off", "tp[T] - slack or -1", "tp[T] or -1"),
    ("the least partition rules", "least = math.min(least,", "least = math.max(least == math.huge and 0 or least,"),
    ("an unheard partition holds the watermark", "tp[T] >= 0 and tp[T] - slack or -1", "tp[T] >= 0 and tp[T] - slack or math.huge"),
    ("an idle partition is lifted to the largest", "tp[T] = tp[T] < largest and largest or", "tp[T] = tp[T] < largest and tp[T] or"),
    ("the end closes every window", "if meta.ending ~= '1' then return false end", "do return false end"),
    ("the end waits for every partition", "if tp[ENDED] ~= 1 then return false end", ""),
    ("new records end the end", "(tp[ENDED] == 1 and move[3] == move[2])", "tp[ENDED] == 1"),
    ("holes are counted", "tp[HOLES] + move[9]", "tp[HOLES]"),
    ("joined entries are done", "entries[id], touched[id] = 'd', true", "entries[id], touched[id] = false, true"),
    ("a correction is revision 1", "emit('correction', '1'", "emit('correction', '0'"),
    ("an age is marked once", "if age > (last or 0) and", "if"),
    ("a mark comes before the outcome that meets a waiting prediction", "if marking then mark(id, t_prediction, tail, nil, t) end", ""),
    ("and before that of one marked already", "if marking then mark(id, t, tail, last, label_t_of(middle)) end", ""),
    ("and before an early outcome's", "if marking then mark(id, t, cut(new, 2), nil, label_t) end", ""),
    ("and before a window closes", "  mark(id, t, tail, last, negative and t + window or W)\n", ""),
    ("an unlabelled prediction has the marks that the watermark passed", "negative and t + window or W)", "t + window)"),
    ("a negative has them all", "negative and t + window or W)", "W)"),
    ("an age is passed after its moment", "at < ending then", "at <= ending then"),
    ("what was passed before marks were asked for is not marked", "age > (last or 0) and one[SINCE] <= at and", "age > (last or 0) and"),
    ("nor is it later", "known[age] or {age, 0, math.max(W,", "known[age] or {age, 0, math.max(0,"),
    ("an age that stays goes on", "marks[i] = known[age] or {", "marks[i] = {"),
    ("each age moves on", "one[CURSOR] = one[CURSOR] + #passed", "one[CURSOR] = one[CURSOR] + 0"),
    ("closed windows are counted out", "one[CURSOR] - #closed)", "one[CURSOR])"),
    ("the last mark is kept", "hold(id, outcomes, tail, now_last)", "hold(id, outcomes, tail)"),
    ("and stays with a further outcome", "  hold(id, outcomes, tail, last)\nend", "  hold(id, outcomes, tail)\nend"),
    ("marks come in order of time", "table.sort(reached, before)", ""),
    ("an outcome that is held ends the marks", "outcomes[1] and outcomes[1][1] or math.huge", "math.huge"),
    ("marks alone are work for a step", "for _, one in ipairs(marks) do n = n + #passing(one, mark) end", ""),
    ("marks may end", "if marking or meta.marks then", "if marking then"),
]  # fmt: skip

# Hypothesis looks around what it has tried, so where it begins decides whether a mutant is caught after 50 examples or
# after 5,000; and where it begins changes with any text of the project. So it begins anew again and again.
ROUNDS, EXAMPLES = 100, 200


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """A store of the test's own, whose script may change."""
    with start_store(tmp_path_factory.mktemp("mutants")) as service, closing(Store(service.address)) as made:
        yield made


@pytest.mark.parametrize(("name", "old", "new"), MUTANTS, ids=[m[0] for m in MUTANTS])
def test_a_mutant_is_caught(store: Store, name: str, old: str, new: str) -> None:
    assert SCRIPT.count(old) == 1, f"the script has changed: {old!r} is there {SCRIPT.count(old)} times"
    store._step = store._client.script(SCRIPT.replace(old, new))

    @settings(REAL, max_examples=EXAMPLES, phases=[Phase.generate], report_multiple_bugs=False)
    @given(plans=plans_, slack=slacks, rules=policies, live=st.booleans())
    def compare(plans: list[Plan], slack: int, rules: Rules, live: bool) -> None:
        agree(store, plans, slack, rules, live=live)

    # Flaky where the clock of the store decides: Hypothesis tries what has failed once more.
    with pytest.raises((AssertionError, ShadowstreamError, msgspec.ValidationError, FlakyFailure)):
        deque((seed(number)(compare)() for number in range(ROUNDS)), maxlen=0)
