// What a page of somebody else can try with the user's cookies.

// The browser goes where the form goes. As plain text, a field can look like JSON: its "=" ends up in a value.
function sendForm(action, name, value) {
  const form = document.querySelector("form");
  const field = document.querySelector("input");
  form.action = action;
  field.name = name;
  field.value = value;
  form.submit();
}

// A request that needs nobody's leave, whose answer no script sees.
async function sendBlindly(method, url, body) {
  try {
    const answer = await fetch(url, { method, mode: "no-cors", credentials: "include", body });
    return { type: answer.type, status: answer.status, text: await answer.text() };
  } catch {
    return null;
  }
}

// A request whose answer it would like to see.
async function read(url) {
  try {
    const answer = await fetch(url, { credentials: "include" });
    return await answer.text();
  } catch {
    return null;
  }
}
