package redisseq

// slots is the number of slots in a Cluster.
const slots = 16384

// Slot returns the slot of a user's counter.
func Slot(user string) int { return int(crc16(key(user)) % slots) } // the key has no braces

// crc16 is the checksum of the Redis Cluster specification (XMODEM: polynomial 0x1021, initial value 0).
func crc16(text string) (crc uint16) {
	for _, b := range []byte(text) {
		crc ^= uint16(b) << 8
		for range 8 {
			carry := crc&0x8000 != 0
			if crc <<= 1; carry {
				crc ^= 0x1021
			}
		}
	}
	return crc
}
