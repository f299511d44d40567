// EIP-2335 keystores of interop validators, as the deposit tool lays them out: one directory, one password.
import crypto from "node:crypto";
import fs from "node:fs";
import { interopKey } from "../real/lib/prover.mjs";

/** Writes `dir`/keys/keystore-N.json for each validator, and `dir`/password; the paths. */
export function writeKeystores(dir, validators) {
  const keys = `${dir}/keys`, password = `${dir}/password`, words = crypto.randomBytes(16).toString("hex");
  fs.mkdirSync(keys, { recursive: true });
  fs.writeFileSync(password, `${words}\n`, { mode: 0o600 });
  for (const validator of validators) {
    const salt = crypto.randomBytes(32), iv = crypto.randomBytes(16), rounds = 4096;
    const derived = crypto.pbkdf2Sync(words, salt, rounds, 32, "sha256");
    const cipher = crypto.createCipheriv("aes-128-ctr", derived.subarray(0, 16), iv);
    const secret = Buffer.concat([cipher.update(Buffer.from(interopKey(validator), "hex")), cipher.final()]);
    const checksum = crypto.createHash("sha256").update(derived.subarray(16, 32)).update(secret).digest("hex");
    const crypt = {
      kdf: { function: "pbkdf2", params: { dklen: 32, c: rounds, prf: "hmac-sha256", salt: salt.toString("hex") }, message: "" },
      checksum: { function: "sha256", params: {}, message: checksum },
      cipher: { function: "aes-128-ctr", params: { iv: iv.toString("hex") }, message: secret.toString("hex") },
    };
    const keystore = { crypto: crypt, path: "", uuid: crypto.randomUUID(), version: 4 };
    fs.writeFileSync(`${keys}/keystore-${validator}.json`, JSON.stringify(keystore), { mode: 0o600 });
  }
  return { keys, password };
}
