// What a single-page application does. The API is at its own origin, or where ?api= says.

const api = new URLSearchParams(location.search).get("api") ?? location.origin;

// One request. It gives all that a script can see of the answer, which may be nothing.
async function call(method, path, body) {
  const request = { method, credentials: "include" };
  if (body !== undefined) {
    request.headers = { "content-type": "application/json" };
    request.body = JSON.stringify(body);
  }
  let answer;
  try {
    answer = await fetch(api + path, request);
  } catch {
    return { status: null };
  }
  return { status: answer.status, headers: Object.fromEntries(answer.headers), body: await answer.json().catch(() => null) };
}

// What the answer tells is kept wherever a page can keep anything.
async function logIn(username, password) {
  const answer = await call("POST", "/v1/auth/login", { username, password });
  if (answer.status === 200) {
    const told = JSON.stringify(answer);
    localStorage.setItem("login", told);
    sessionStorage.setItem("login", told);
    document.querySelector("p").textContent = told;
  }
  return answer;
}

const me = () => call("GET", "/v1/auth/me");
const refresh = () => call("POST", "/v1/auth/refresh", {});
const logOut = () => call("POST", "/v1/auth/logout");
const logOutEverywhere = () => call("POST", "/v1/auth/logout-all");

// As a page asks for anything: an expired token is refreshed, once, and then it asks again.
async function meOrRefresh() {
  const answer = await me();
  if (answer.body?.type !== "urn:kickout:problem:token-expired") return answer;
  const refreshed = await refresh();
  return refreshed.status === 200 ? me() : refreshed;
}

// The tabs of this page tell each other where they are.
const channel = new BroadcastChannel("tabs");
const heard = new Set();
channel.addEventListener("message", ({ data }) => heard.add(data));

// Waits until the other tab has come to the same place.
function meet(place) {
  channel.postMessage(place);
  return new Promise((met) => {
    const look = () => (heard.has(place) ? met() : channel.addEventListener("message", look, { once: true }));
    look();
  });
}

// Refreshes so often, each time at the same moment as the other tab.
async function refreshTogether(rounds) {
  const answers = [];
  for (let round = 0; round < rounds; round += 1) {
    await meet(round);
    answers.push(await refresh(), await me());
  }
  return answers;
}
