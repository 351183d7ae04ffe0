const ms = require("ms");

for (const time of process.argv.slice(2).concat("2 days", "90 minutes")) {
  console.log(`${time} are ${ms(time)} milliseconds`);
}
