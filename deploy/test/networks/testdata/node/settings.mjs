// What the lab tells a script, and how a script tells the lab.
export const settings = {url: process.env.LAB_URL, token: process.env.LAB_TOKEN, wait: Number(process.env.LAB_WAIT)}
export const report = text => console.log(JSON.stringify({text}))
export const complain = err =>
  console.error(new Date().toISOString(), err?.message ?? err?.type ?? err, err?.cause?.code ?? err?.code ?? err?.status ?? '')
