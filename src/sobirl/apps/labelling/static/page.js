// The two clips in step, and keys for the buttons. Everything else works without it.
const find = (id) => document.getElementById(id);
const clips = find("clips");
const player = clips && play(clips);

function play(clips) {
  const canvases = [...clips.querySelectorAll("canvas")];
  const counts = canvases.map((canvas) => Number(canvas.dataset.count));
  const total = Math.max(...counts);
  const columns = Number(clips.dataset.columns), rate = Number(clips.dataset.rate);
  const marked = [...clips.querySelectorAll(".mark")];
  const marks = [...new Set(marked.map((m) => Math.round(m.x.baseVal.value * total / 100)))].sort((a, b) => a - b);
  const sheet = new Image();
  const speed = find("speed"), step = find("step");
  const hold = rate / 2; // frames of standing still at the end
  let at = 0, before = null, playing = !matchMedia("(prefers-reduced-motion: reduce)").matches;

  const shown = () => Math.min(Math.floor(at), total - 1);
  function draw() {
    canvases.forEach((canvas, side) => {
      const number = Number(canvas.dataset.first) + Math.min(shown(), counts[side] - 1);
      const { width, height } = canvas, x = (number % columns) * width, y = Math.floor(number / columns) * height;
      canvas.getContext("2d").drawImage(sheet, x, y, width, height, 0, 0, width, height);
    });
    clips.querySelectorAll(".now").forEach((now, side) => now.setAttribute("x", 100 * Math.min(shown(), counts[side] - 1) / total));
    step.value = shown() + 1;
    find("at").textContent = `${shown() + 1} / ${total}`;
  }
  function tick(now) {
    if (playing) {
      at = (at + (now - (before ?? now)) / 1000 * rate * Number(speed.value)) % (total + hold);
      draw();
    }
    before = now;
    requestAnimationFrame(tick);
  }
  const self = {
    toggle(on = !playing) { playing = on; find("play").textContent = playing ? "Pause" : "Play"; },
    go(to) { self.toggle(false); at = ((to % total) + total) % total; draw(); },
    step(by) { self.go(shown() + by); },
    mark() { if (marks.length) self.go(marks.find((m) => m > shown()) ?? marks[0]); },
    pace(by) { speed.selectedIndex = Math.min(Math.max(speed.selectedIndex + by, 0), speed.length - 1); keep(); },
  };
  const keep = () => sessionStorage.setItem("speed", speed.value);
  speed.value = sessionStorage.getItem("speed") ?? speed.value;
  speed.addEventListener("change", keep);
  step.addEventListener("input", () => self.go(Number(step.value) - 1));
  find("play").addEventListener("click", () => self.toggle());
  find("back").addEventListener("click", () => self.step(-1));
  find("forth").addEventListener("click", () => self.step(1));
  sheet.addEventListener("load", () => { clips.dataset.ready = "yes"; draw(); requestAnimationFrame(tick); });
  sheet.src = clips.dataset.sheet;
  self.toggle(playing);
  return self;
}

const playerKeys = {
  " ": () => player.toggle(), ",": () => player.step(-1), ".": () => player.step(1),
  m: () => player.mark(), "-": () => player.pace(-1), "+": () => player.pace(1),
};

document.addEventListener("keydown", (event) => {
  const on = event.target.tagName;
  if (event.ctrlKey || event.metaKey || event.altKey || event.repeat && event.key.length > 1) return;
  if (on === "TEXTAREA" || on === "SELECT" || on === "SUMMARY" || on === "INPUT" && event.key.startsWith("Arrow")) return;
  if (event.key === " " && on !== "BODY") return;
  const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  const button = [...document.querySelectorAll("[data-keys]")].find((b) => b.dataset.keys.split(" ").includes(key));
  const action = button ? () => button.click() : player && playerKeys[key];
  if (!action) return;
  event.preventDefault();
  action();
});

let sent = false;
document.addEventListener("submit", (event) => { if (sent) event.preventDefault(); sent = true; });
addEventListener("pageshow", (event) => { sent = false; if (event.persisted) location.reload(); });
if (find("wait")) setTimeout(() => location.replace("/"), 5000);
