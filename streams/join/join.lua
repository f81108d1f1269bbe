-- One step of the join, or (without ARGV[1]) one atomic read of a shard. First check and compute everything, then write.
--
-- KEYS: m (hash: format, seq, chain, watermark, counters, steps, sizes, and fields by kind: 'tp:' a partition, 'recent:'
--       its recent event times, 'note:' an operator's, 'figure:' and 'example:' of what vanished),
--       e (id -> entry), w (open windows), g (markers to drop), s (samples).
-- ARGV[1]: the step as step.py packs it. The reply is what step.py unpacks.
-- Entries: 'w<tail>' waiting; 'h<length>:<outcomes><tail>' waiting with outcomes; 'p<tail>' provisional; 'o<middle>' one
--          early outcome; 'e<t>:<outcomes>' several; 'd' done, 'd<t>' done and kept at least until that time;
--          'u<t>' done without an outcome, a prediction of that time. 'm<age>:' before 'w' or 'h' is its last mark.
--          <outcomes> is the packed list of {t, label}, distinct and sorted.
-- In w and g: '<time>:<id>'. Of each age that is marked, m's `marks` have how many of w's elements have passed it.
-- In s up to ENTRY samples share an entry, '<seq>' -> sample, and last 't' -> when what they are made of had arrived.
-- A sample's text is its kind, a middle and a tail: the middle comes from the outcome, '1,"label_t":2,"id":"a","t":', the
-- tail from the prediction, '<t>,"prediction":<JSON>}'. Events bring these texts ready-made (step.py), because formatting
-- is slow here. Numbers are formatted by %.0f: `..` would round them to 14 digits.
local FORMAT, CLOSE, DROP, MARK, CHUNK, ENTRY, ENTRY_BYTES = '4', 256, 512, 512, 1000, 16, 4000
local RECENT, HEARD, FIGURES = 32, 8, 64 -- events that say a partition's time, the least that do, values of a figure
local m, e, w, g, s = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local T, NEXT, LAST, CRC, RECORDS, REJECTED, HOLES, LOST, ENDED, HELD = 1, 2, 3, 4, 6, 7, 8, 9, 10, 12
local NEWEST, AHEAD, DATES = 13, 14, 15 -- of a partition (5: start, 11: since)
local AGE, CURSOR, SINCE, LEAD = 1, 2, 3, 4 -- of a mark; SINCE: the least time of one, LEAD: how long before the deadline

local meta, tps, notes, recents, figures, examples = {}, {}, 0, {}, {}, {}
local fields = redis.call('HGETALL', m)
for i = 1, #fields, 2 do
  local kind, name = string.match(fields[i], '^(%a+):(.*)$')
  if kind == 'tp' then
    tps[name] = cmsgpack.unpack(fields[i + 1])
  elseif kind == 'recent' then
    recents[name] = fields[i + 1]
  elseif kind == 'figure' then
    figures[name] = fields[i + 1]
  elseif kind == 'example' then
    examples[name] = fields[i + 1]
  elseif kind == 'note' then
    notes = notes + 1
  else
    meta[fields[i]] = fields[i + 1]
  end
end
if not meta.format then return redis.error_reply('MISSING there is no such shard') end
if meta.format ~= FORMAT then return redis.error_reply('FORMAT ' .. meta.format .. ', this code reads ' .. FORMAT) end
local count, marks = cmsgpack.unpack(meta.counters), meta.marks and cmsgpack.unpack(meta.marks) or {}
count.marked, count.early_refused = count.marked or 0, count.early_refused or 0 -- an earlier release's shard has none
local seq, W = tonumber(meta.seq), tonumber(meta.watermark)
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local newest = redis.call('XREVRANGE', s, '+', '-', 'COUNT', 1)[1]

local format, cut, match, byte, tonumber = string.format, string.sub, string.match, string.byte, tonumber
local JOINED, WAITING, EARLY = '{"kind":"joined","revision":0,"label":', byte('w'), byte('o')
local function whole(n) return format('%.0f', n) end
local function time_of(item) return tonumber(match(item, '^%d+')) end

-- Whether the feed has ended and all of it was read.
local function closing()
  if meta.ending ~= '1' then return false end
  for _, tp in pairs(tps) do
    if tp[ENDED] ~= 1 then return false end
  end
  return true
end

-- The first `most` elements of a list of '<time>:<id>', up to the first that is not due.
local function due(list, most, all, first, lead)
  first = first or 0
  local late = W + (lead or 0)
  local head = redis.call('LINDEX', list, first)
  if not head or not (all or time_of(head) < late) then return {} end
  local items = redis.call('LRANGE', list, first, first + most - 1)
  for i, item in ipairs(items) do
    if not all and time_of(item) >= late then return {unpack(items, 1, i - 1)} end
  end
  return items
end
local function passing(mark, most) return due(w, most, false, mark[CURSOR], mark[LEAD]) end
local function marks_a_step() return math.ceil(MARK / #marks) end -- of each age

-- How many windows, markers and marks are due, up to so many of each list.
local function left(close, drop, mark)
  local n = #due(w, close, closing()) + #due(g, drop, false)
  for _, one in ipairs(marks) do n = n + #passing(one, mark) end
  return n
end

-- Up to when all is told: each window before it has closed, and each mark before it is emitted.
local function told()
  local until_ms = W
  local head = redis.call('LINDEX', w, 0)
  if head then until_ms = math.min(until_ms, time_of(head)) end
  for _, one in ipairs(marks) do
    head = redis.call('LINDEX', w, one[CURSOR])
    if head then until_ms = math.min(until_ms, time_of(head) - one[LEAD]) end
  end
  return until_ms
end

local function answer()
  local missed = {}
  for name, values in pairs(figures) do missed[#missed + 1] = {name, values, examples[name]} end
  table.sort(missed, function(a, b) return a[1] < b[1] end)
  return cmsgpack.pack({seq, meta.chain, W, now, newest and newest[1] or '0-0',
    seq - tonumber(meta.trimmed or 0), tonumber(meta.ending or 0), redis.call('LLEN', w),
    redis.call('LLEN', g), left(CLOSE, DROP, marks_a_step()), count, tps, missed, told()})
end

if not ARGV[1] then return answer() end

-- Check.
local token, rules, moves, which, ids, times, items, bodies, note, arrived = unpack(cmsgpack.unpack(ARGV[1]))
local window, keep, slack, ahead, at_close, negative, reduce, most, correct, ages, most_early = unpack(rules)
at_close, correct, negative = at_close == 1, correct == 1, negative ~= '' and negative
if meta.token == token then return answer() end
local applies, any = {}, #moves == 0
for i, move in ipairs(moves) do
  local tp = tps[move[1]]
  if not tp then return redis.error_reply('UNKNOWN partition ' .. move[1]) end
  applies[i] = tp[NEXT] == move[2]
  any = any or applies[i]
  if move[6] > now + ahead then return redis.error_reply('AHEAD ' .. move[1] .. ': the clock went back') end
end
local resting = #moves == 0 and note == ''
if not any or (resting and left(1, 1, 1) == 0) then return answer() end
if seq > 0 and not (newest and string.match(newest[1], '^%d+') == meta.seq) then
  return redis.error_reply('BROKEN ' .. m .. ': the stream does not end at sample ' .. meta.seq)
end
-- A cluster node restored to the middle of a slot's migration holds only some of the keys, and Redis 7.0 that loads a
-- torn log twice applies a part of a step twice; no counter shows either. Every step therefore begins to write with
-- HINCRBY of `steps` and ends with HSET of `sizes`: what is there now must be what the last step left.
local steps = tonumber(meta.steps or 0)
local function sizes(n)
  return whole(n) .. ' ' .. redis.call('HLEN', e) .. ' ' .. redis.call('LLEN', w) .. ' ' .. redis.call('LLEN', g)
end
local now_sizes = sizes(steps) -- always called: a missing right must show before the first write
if meta.sizes and meta.sizes ~= now_sizes then
  local was = ': steps, entries, windows and markers were ' .. meta.sizes
  return redis.error_reply('BROKEN ' .. m .. was .. ' and are ' .. now_sizes)
end

-- Compute.
local known = {}
for _, mark in ipairs(marks) do known[mark[AGE]] = mark end
marks = {}
for i, age in ipairs(ages) do
  marks[i] = known[age] or {age, 0, math.max(W, tonumber(meta.marked_until or 0))}
  marks[i][LEAD] = window - age
end
local marking = #marks > 0

local entries, touched, opens, drops, samples = {}, {}, {}, {}, {}
local function load(wanted)
  for from = 1, #wanted, CHUNK do
    local to = math.min(from + CHUNK - 1, #wanted)
    local values = redis.call('HMGET', e, unpack(wanted, from, to))
    for i = from, to do
      if not touched[wanted[i]] then entries[wanted[i]] = values[i - from + 1] end
    end
  end
end
local function add(name, n) count[name] = count[name] + n end
local function put(id, value) entries[id], touched[id] = value, true end
local function done(id, t)
  put(id, 'd')
  drops[#drops + 1] = whole(t + window + keep) .. ':' .. id
end
local function emit(kind, revision, middle, tail)
  seq = seq + 1
  samples[#samples + 1] = '{"kind":"' .. kind .. '","revision":' .. revision .. ',"label":' .. middle .. tail
end
local function middle_of(id, label, t)
  return label .. ',"label_t":' .. whole(t) .. ',"id":' .. cjson.encode(id) .. ',"t":'
end
local function label_of(middle) return match(middle, '^(.*),"label_t":%d+,"id":') end
local function label_t_of(middle) return tonumber(match(middle, '^.*,"label_t":(%d+),"id":')) end

-- An entry's state, time, outcomes, tail and last mark.
local function parts(entry, last)
  local state, number = match(entry, '^(%a)(%d*)')
  local t, first = tonumber(number) or 0, #number + 3 -- what follows a colon
  if state == 'm' then return parts(cut(entry, first), t) end
  if state == 'd' or state == 'u' then return state, t, {}, '' end
  if state == 'o' then
    t = label_t_of(entry)
    return 'e', t, {{t, label_of(cut(entry, 2))}}, ''
  end
  if state == 'e' then return state, t, cmsgpack.unpack(cut(entry, first)), '' end
  if state ~= 'h' then return state, t, {}, cut(entry, 2), last end
  local tail = cut(entry, first + t)
  return state, time_of(tail), cmsgpack.unpack(cut(entry, first, first + t - 1)), tail, last
end
local function hold(id, outcomes, tail, last)
  local packed, mark = cmsgpack.pack(outcomes), last and 'm' .. whole(last) .. ':' or ''
  put(id, mark .. (#outcomes == 0 and 'w' or 'h' .. #packed .. ':' .. packed) .. tail)
end
-- Emit the marks of a prediction of time `t` after its `last` one that come before a time; return its last one now.
local function mark(id, t, tail, last, ending)
  for i, one in ipairs(marks) do
    local age, at = one[AGE], t + one[AGE]
    if age > (last or 0) and one[SINCE] <= at and at < ending then
      last = age
      add('marked', 1)
      emit('waiting', i - 1, middle_of(id, '0', at), tail)
    end
  end
  return last
end

local function before(a, b) return a[1] < b[1] or (a[1] == b[1] and a[2] < b[2]) end
-- Insert an outcome in order. Returns false for a copy, true, or the outcome that was removed if there are too many.
local function insert(outcomes, t, label)
  for _, one in ipairs(outcomes) do
    if one[1] == t and one[2] == label then return false end
  end
  outcomes[#outcomes + 1] = {t, label}
  table.sort(outcomes, before)
  if #outcomes <= most then return true end
  return table.remove(outcomes, reduce == 'last' and 1 or #outcomes)
end
-- The outcomes up to a time, and those after it.
local function split(outcomes, deadline)
  local first, second = {}, {}
  for _, one in ipairs(outcomes) do
    local side = one[1] <= deadline and first or second
    side[#side + 1] = one
  end
  return first, second
end
-- Make one outcome of several.
local function reduced(id, outcomes)
  local first, last = outcomes[1], outcomes[#outcomes]
  if reduce == 'first' then return middle_of(id, first[2], first[1]) end
  if reduce == 'last' then return middle_of(id, last[2], last[1]) end
  local labels, sum = {}, 0
  for i, one in ipairs(outcomes) do
    labels[i] = one[2]
    sum = sum + (reduce == 'sum' and tonumber(one[2]) or 0)
  end
  return middle_of(id, reduce == 'sum' and format('%.17g', sum) or '[' .. table.concat(labels, ',') .. ']', last[1])
end

local function joined(id, t, outcomes, tail, last)
  local middle = reduced(id, outcomes)
  if marking then mark(id, t, tail, last, label_t_of(middle)) end
  add('joined', 1)
  emit('joined', '0', middle, tail)
  done(id, math.max(t, outcomes[#outcomes][1]))
end
local function corrected(id, t, outcomes, tail)
  add('corrected', 1)
  add('used', #outcomes)
  emit('correction', '1', reduced(id, outcomes), tail)
  local drop = math.max(t, outcomes[#outcomes][1]) + window + keep
  put(id, 'd' .. whole(drop)) -- an earlier marker of the same id is in the list already, if it was provisional
  drops[#drops + 1] = whole(drop) .. ':' .. id
end

-- Events that took the short paths, which create no table: predictions that open a window, outcomes that meet a waiting
-- prediction, outcomes that come first, predictions that meet such an outcome.
local opened, settled, early, met = 0, 0, 0, 0

-- Count what becomes no sample, with its id as an example and, in ms, the figure that says by how much.
local seen, noted = {}, {}
local function vanished(name, n, id, figure)
  add(name, n)
  noted[name] = id
  local values = seen[name] or {}
  seen[name] = values
  values.n = (values.n or 0) + 1
  values[(values.n - 1) % FIGURES + 1] = whole(figure)
end
local of = 0 -- the index of the move that brought the event
local function too_late(name, id, t)
  if tps[moves[of][1]][NEWEST] - slack < t + window + keep then add('too_late_silent', 1) end -- others moved W
  return vanished(name, 1, id, W - t)
end

local function prediction(id, t, new, entry, item)
  if t + window + keep < W then return too_late('prediction_too_late', id, t) end
  if not entry then
    opened = opened + 1
    opens[#opens + 1] = item
    entries[id], touched[id] = new, true
    return
  end
  if byte(entry) == EARLY and not at_close then
    local label_t = label_t_of(entry)
    if label_t <= t + window then
      if marking then mark(id, t, cut(new, 2), nil, label_t) end
      met, seq = met + 1, seq + 1
      samples[#samples + 1] = JOINED .. cut(entry, 2) .. cut(new, 2)
      return done(id, math.max(t, label_t))
    end
  end
  local state, _, outcomes, other = parts(entry)
  if state ~= 'e' then -- the first copy counts
    if other ~= '' and other ~= cut(new, 2) then add('conflict', 1) end
    return add('prediction_duplicate', 1)
  end
  add('opened', 1)
  local on_time, late = split(outcomes, t + window)
  local tail = cut(new, 2)
  add('early', -#outcomes)
  for _, one in ipairs(late) do vanished('late', 1, id, one[1] - t) end
  if #on_time > 0 and not at_close then
    add('used', 1)
    add('outcome_duplicate', #on_time - 1)
    return joined(id, t, {on_time[1]}, tail)
  end
  add('used', #on_time)
  add('waiting', 1)
  if correct then for _, one in ipairs(late) do on_time[#on_time + 1] = one end end
  opens[#opens + 1] = item
  hold(id, on_time, tail)
end

-- An outcome of a prediction that waits.
local function settle(id, t, middle, entry)
  local _, t_prediction, outcomes, tail, last = parts(entry)
  local deadline = t_prediction + window
  local on_time = t <= deadline
  local label = label_of(middle)
  if on_time and not at_close then
    add('used', 1)
    add('waiting', -1)
    return joined(id, t_prediction, {{t, label}}, tail, last)
  end
  if not on_time and not correct then return vanished('late', 1, id, t - t_prediction) end
  local other = insert(outcomes, t, label)
  if not other then return add('outcome_duplicate', 1) end
  if on_time then add('used', 1) else vanished('late', 1, id, t - t_prediction) end
  if other ~= true then
    add(other[1] <= deadline and 'used' or 'late', -1)
    add('capped', 1)
  end
  hold(id, outcomes, tail, last)
end

-- Whether as many early outcomes wait as may.
local function crowded() return count.early + early - met >= most_early end

local function outcome(id, t, middle, entry, item)
  if t + window + keep < W then return too_late('outcome_too_late', id, t) end
  if not entry then
    if crowded() then return vanished('early_refused', 1, id, W - t) end
    early = early + 1
    opens[#opens + 1] = whole(t + window) .. ':' .. id
    entries[id], touched[id] = 'o' .. middle, true
    return
  end
  if byte(entry) == WAITING and not at_close then
    local tail = cut(entry, 2)
    local t_prediction = time_of(tail)
    if t_prediction <= t and t <= t_prediction + window then
      if marking then mark(id, t_prediction, tail, nil, t) end
      settled, seq = settled + 1, seq + 1
      samples[#samples + 1] = JOINED .. middle .. tail
      drops[#drops + 1] = item
      entries[id], touched[id] = 'd', true
      return
    end
  end
  local state = cut(entry, 1, 1)
  if state == 'd' then return add('outcome_duplicate', 1) end
  if state == 'u' then
    put(id, 'd')
    return vanished('outcome_closed', 1, id, t - tonumber(cut(entry, 2)))
  end
  if state == 'w' or state == 'h' or state == 'm' then return settle(id, t, middle, entry) end
  if state == 'p' then
    local _, t_prediction, _, tail = parts(entry)
    if t > t_prediction + window and not correct then return vanished('late', 1, id, t - t_prediction) end
    return corrected(id, t_prediction, {{t, label_of(middle)}}, tail)
  end
  if crowded() then return vanished('early_refused', 1, id, W - t) end
  local _, first, outcomes = parts(entry)
  local other = insert(outcomes, t, label_of(middle))
  if not other then return add('outcome_duplicate', 1) end
  add(other == true and 'early' or 'capped', 1)
  put(id, 'e' .. whole(first) .. ':' .. cmsgpack.pack(outcomes))
end

-- Close the window of an entry.
local function close(id, t, state, outcomes, tail, last)
  if state == 'e' then
    add('early', -#outcomes)
    vanished('orphan', #outcomes, id, W - t)
    return put(id, false)
  end
  add('waiting', -1)
  local on_time, late = split(outcomes, t + window)
  if #on_time > 0 then return joined(id, t, on_time, tail, last) end
  mark(id, t, tail, last, negative and t + window or W)
  if not negative then
    add('unlabelled', 1)
    put(id, 'u' .. whole(t))
    drops[#drops + 1] = whole(t + window + keep) .. ':' .. id
    return
  end
  add('negative', 1)
  emit('negative', '0', middle_of(id, negative, t + window), tail)
  if #late > 0 then
    add('late', -#late)
    return corrected(id, t, late, tail)
  end
  put(id, 'p' .. tail)
  drops[#drops + 1] = whole(t + window + keep) .. ':' .. id
end

load(ids)
for i = 1, #ids do
  of = which[i]
  if applies[of] then
    local apply = moves[of][11] == 1 and outcome or prediction
    apply(ids[i], times[i], bodies[i], entries[ids[i]], items[i])
  end
end
add('opened', opened + met)
add('waiting', opened - settled)
add('early', early - met)
add('used', settled + met)
add('joined', settled + met)

-- A partition's time is the median of its recent events' (the lower one of an even number): what half of them have
-- reached, so that no minority's clock moves it. It is heard once there are some. No event's time counts past the
-- store's clock.
local function median(times)
  local sorted = {}
  for i, t in ipairs(times) do -- by insertion: they are nearly sorted
    local at = i
    while at > 1 and sorted[at - 1] > t do
      sorted[at] = sorted[at - 1]
      at = at - 1
    end
    sorted[at] = t
  end
  return sorted[math.floor((#sorted + 1) / 2)]
end
local function hear(name, tp, times)
  local all = recents[name] and #times < RECENT and cmsgpack.unpack(recents[name]) or {}
  for _, t in ipairs(times) do all[#all + 1] = t end
  if #all > RECENT then all = {unpack(all, #all - RECENT + 1)} end
  recents[name] = cmsgpack.pack(all)
  if #all >= HEARD then tp[T] = math.max(tp[T], math.min(median(all), now)) end
end
-- Without a word to the contrary for so long, a silent partition's last event counts alone.
local function rest(name, tp)
  local all = recents[name] and cmsgpack.unpack(recents[name]) or {-1}
  tp[T] = math.max(tp[T], math.min(all[#all], now))
end

local largest = -1
for i, move in ipairs(moves) do
  local tp = tps[move[1]]
  if applies[i] then
    add(move[11] == 1 and 'outcomes' or 'predictions', move[7])
    tp[ENDED] = (move[13] == 1 or (tp[ENDED] == 1 and move[3] == move[2])) and 1 or 0
    tp[NEXT], tp[NEWEST] = move[3], math.max(tp[NEWEST], move[6])
    if #move[15] > 0 then hear(move[1], tp, move[15]) end
    if move[12] == 1 then rest(move[1], tp) end
    if move[4] >= 0 then tp[LAST], tp[CRC] = move[4], move[5] end
    if move[14] then tp[HELD] = move[14] end
    if move[4] == -2 then tp[LAST], tp[CRC] = -1, 0 end
    tp[RECORDS], tp[REJECTED] = tp[RECORDS] + move[7], tp[REJECTED] + move[8]
    tp[HOLES], tp[LOST] = tp[HOLES] + move[9], tp[LOST] + move[10]
    tp[AHEAD] = tp[AHEAD] + move[16]
    if move[17] ~= '' then tp[DATES] = move[17] end
  end
end
for _, tp in pairs(tps) do largest = math.max(largest, tp[T]) end
for i, move in ipairs(moves) do
  local tp = tps[move[1]]
  if applies[i] and move[12] == 1 and largest >= 0 then
    local elapsed = math.max(0, math.min(1000, now - tonumber(meta.clock)))
    tp[T] = tp[T] < largest and largest or math.max(tp[T], math.min(largest + elapsed, now))
  end
end
local least = math.huge
for _, tp in pairs(tps) do least = math.min(least, tp[T] >= 0 and tp[T] - slack or -1) end
W = math.max(W, least)

local all, reached, reached_ids = closing(), {}, {}
for _, one in ipairs(marks) do
  local passed = passing(one, marks_a_step())
  one[CURSOR] = one[CURSOR] + #passed
  for _, item in ipairs(passed) do
    local at = time_of(item) - one[LEAD]
    if one[SINCE] <= at then reached[#reached + 1] = {at, match(item, '^%d+:(.*)$')} end
  end
end
table.sort(reached, before)
for i, one in ipairs(reached) do reached_ids[i] = one[2] end
load(reached_ids)
for _, one in ipairs(reached) do
  local at, id = unpack(one)
  local state, t, outcomes, tail, last = parts(entries[id] or 'd')
  if state == 'w' or state == 'h' then
    local now_last = mark(id, t, tail, last, math.min(at + 1, outcomes[1] and outcomes[1][1] or math.huge))
    if now_last ~= last then hold(id, outcomes, tail, now_last) end
  end
end

local closed, dropped = due(w, CLOSE, all), due(g, DROP, false)
local closed_ids, dropped_ids = {}, {}
for i, item in ipairs(closed) do closed_ids[i] = string.match(item, '^%d+:(.*)$') end
for i, item in ipairs(dropped) do dropped_ids[i] = string.match(item, '^%d+:(.*)$') end
load(closed_ids)
for i, id in ipairs(closed_ids) do
  if entries[id] then
    local state, t, outcomes, tail, last = parts(entries[id])
    local open = state == 'w' or state == 'h' or state == 'e'
    if open and t + window == time_of(closed[i]) then close(id, t, state, outcomes, tail, last) end
  end
end
load(dropped_ids)
for i, id in ipairs(dropped_ids) do
  local state, t = parts(entries[id] or 'd')
  if state == 'p' or state == 'u' or (state == 'd' and t <= time_of(dropped[i])) then put(id, false) end
end

-- Write.
local function chunked(command, key, list)
  for from = 1, #list, CHUNK do
    redis.call(command, key, unpack(list, from, math.min(from + CHUNK - 1, #list)))
  end
end
local kept, gone = {}, {}
for id in pairs(touched) do
  if entries[id] then
    kept[#kept + 1] = id
    kept[#kept + 1] = entries[id]
  else
    gone[#gone + 1] = id
  end
end
local chain = whole(tonumber(string.sub(redis.sha1hex(meta.chain .. token), 1, 13), 16))
meta.chain = chain
redis.call('HINCRBY', m, 'steps', 1)
chunked('HSET', e, kept)
chunked('HDEL', e, gone)
if #closed > 0 then redis.call('LTRIM', w, #closed, -1) end
if #dropped > 0 then redis.call('LTRIM', g, #dropped, -1) end
chunked('RPUSH', w, opens)
chunked('RPUSH', g, drops)
local first, fields, bytes = seq - #samples, {}, 0
arrived = whole(arrived > 0 and math.min(arrived, now) or now)
for i, sample in ipairs(samples) do
  bytes = bytes + #sample
  fields[#fields + 1] = whole(first + i)
  fields[#fields + 1] = sample
  if i == #samples or #fields == 2 * ENTRY or bytes + #samples[i + 1] > ENTRY_BYTES then
    newest = {fields[#fields - 1] .. '-' .. chain}
    fields[#fields + 1] = 't'
    fields[#fields + 1] = arrived
    redis.call('XADD', s, newest[1], unpack(fields))
    fields, bytes = {}, 0
  end
end
local changed = {'token', token, 'seq', whole(seq), 'chain', chain, 'watermark', whole(W), 'clock', whole(now),
  'counters', cmsgpack.pack(count), 'sizes', sizes(steps + 1)}
for i, move in ipairs(moves) do
  if applies[i] then
    changed[#changed + 1] = 'tp:' .. move[1]
    changed[#changed + 1] = cmsgpack.pack(tps[move[1]])
    if #move[15] > 0 then
      changed[#changed + 1] = 'recent:' .. move[1]
      changed[#changed + 1] = recents[move[1]]
    end
  end
end
for name, id in pairs(noted) do
  local values = seen[name]
  for old in string.gmatch(figures[name] or '', '%S+') do
    if #values == FIGURES then break end
    values[#values + 1] = old
  end
  figures[name], examples[name] = table.concat(values, ' '), id
  for _, pair in ipairs({{'figure:', figures}, {'example:', examples}}) do
    changed[#changed + 1] = pair[1] .. name
    changed[#changed + 1] = pair[2][name]
  end
end
if marking or meta.marks then
  for _, one in ipairs(marks) do one[CURSOR] = math.max(0, one[CURSOR] - #closed) end
  changed[#changed + 1] = 'marks'
  changed[#changed + 1] = cmsgpack.pack(marks)
end
if note ~= '' then
  changed[#changed + 1] = 'note:' .. notes
  changed[#changed + 1] = note
end
redis.call('HSET', m, unpack(changed))
return answer()
