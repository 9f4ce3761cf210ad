//! The small integers of the packed formats: LEB128, and zigzag for signed ones. Readers never panic and never read past
//! their end.

use super::Corrupt;

/// Appends an unsigned integer, 7 bits a byte, low ones first.
#[inline]
pub fn put_varint(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

/// Appends a signed integer; small magnitudes take few bytes.
#[inline]
pub fn put_signed(out: &mut Vec<u8>, number: i64) {
    put_varint(out, ((number << 1) ^ (number >> 63)) as u64);
}

/// Reads packed integers and slices from the front of bytes.
#[derive(Clone, Copy, Debug)]
pub struct Reader<'a>(pub &'a [u8]);

impl<'a> Reader<'a> {
    /// Whether nothing is left.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The next byte.
    #[inline]
    pub fn byte(&mut self) -> Result<u8, Corrupt> {
        let (&byte, rest) = self.0.split_first().ok_or(Corrupt::Short)?;
        self.0 = rest;
        Ok(byte)
    }

    /// The next unsigned integer, mostly one of a byte.
    #[inline(always)]
    pub fn varint(&mut self) -> Result<u64, Corrupt> {
        let first = self.byte()?;
        if first < 0x80 {
            return Ok(u64::from(first));
        }
        self.rest_of_varint(first)
    }

    fn rest_of_varint(&mut self, first: u8) -> Result<u64, Corrupt> {
        let mut number = u64::from(first & 0x7f);
        let mut shift = 7;
        loop {
            let byte = self.byte()?;
            if shift == 63 && byte > 1 {
                return Err(Corrupt::Number);
            }
            number |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(number);
            }
            shift += 7;
            if shift > 63 {
                return Err(Corrupt::Number);
            }
        }
    }

    /// The next unsigned integer as a length or an index.
    #[inline]
    pub fn size(&mut self) -> Result<usize, Corrupt> {
        let number = self.varint()?;
        u32::try_from(number)
            .map(|number| number as usize)
            .map_err(|_| Corrupt::Number)
    }

    /// The next signed integer.
    #[inline]
    pub fn signed(&mut self) -> Result<i64, Corrupt> {
        let number = self.varint()?;
        Ok((number >> 1) as i64 ^ -((number & 1) as i64))
    }

    /// The next `size` bytes.
    #[inline]
    pub fn take(&mut self, size: usize) -> Result<&'a [u8], Corrupt> {
        let (head, rest) = self.0.split_at_checked(size).ok_or(Corrupt::Short)?;
        self.0 = rest;
        Ok(head)
    }

    /// The next bytes of a fixed number.
    #[inline]
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], Corrupt> {
        let (head, rest) = self.0.split_first_chunk::<N>().ok_or(Corrupt::Short)?;
        self.0 = rest;
        Ok(*head)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_come_back() -> Result<(), Corrupt> {
        let mut out = Vec::new();
        let signed = [0, 1, -1, 63, -64, 64, i64::MAX, i64::MIN];
        let unsigned = [0, 127, 128, u64::from(u32::MAX), u64::MAX];
        signed
            .iter()
            .for_each(|&number| put_signed(&mut out, number));
        unsigned
            .iter()
            .for_each(|&number| put_varint(&mut out, number));
        let mut reader = Reader(&out);
        for number in signed {
            assert_eq!(reader.signed()?, number);
        }
        for number in unsigned {
            assert_eq!(reader.varint()?, number);
        }
        assert!(reader.is_empty());
        Ok(())
    }

    #[test]
    fn what_is_cut_or_too_long_is_an_error() {
        assert_eq!(Reader(&[0x80]).varint(), Err(Corrupt::Short));
        assert_eq!(Reader(&[0xff; 11]).varint(), Err(Corrupt::Number));
        assert_eq!(Reader(&[1, 2]).take(3), Err(Corrupt::Short));
    }
}
