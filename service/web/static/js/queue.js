/**
 * Does one thing after the other, in the order in which they were asked for.
 * @returns {(work: () => Promise<void>) => Promise<void>}
 */
export function makeQueue() {
  let last = Promise.resolve();
  return (work) => (last = last.then(work, work)); // also after a failure
}
