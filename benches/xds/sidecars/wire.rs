//! Just enough of protobuf: fields of a message, without copying any.

/// The fields of a message whose values have a length, in order.
pub struct Fields<'a>(pub &'a [u8]);

impl<'a> Iterator for Fields<'a> {
    type Item = (u32, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let key = self.varint()?;
            let field = (key >> 3) as u32;
            match key & 7 {
                0 => drop(self.varint()?),
                1 => self.0 = self.0.get(8..)?,
                5 => self.0 = self.0.get(4..)?,
                _ => {
                    let length = self.varint()? as usize;
                    let (value, rest) = self.0.split_at_checked(length)?;
                    self.0 = rest;
                    return Some((field, value));
                }
            }
        }
    }
}

impl Fields<'_> {
    fn varint(&mut self) -> Option<u64> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let (first, rest) = self.0.split_first()?;
            self.0 = rest;
            value |= u64::from(first & 0x7f) << shift;
            if first & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }
}

/// The first value of a field, or nothing.
pub fn field(message: &[u8], number: u32) -> &[u8] {
    Fields(message).find(|(field, _)| *field == number).map_or(&[], |(_, value)| value)
}

/// Appends a field with a length.
pub fn put(number: u32, value: &[u8], out: &mut Vec<u8>) {
    out.push((number << 3) as u8 | 2);
    let mut length = value.len();
    while length >= 0x80 {
        out.push(length as u8 | 0x80);
        length >>= 7;
    }
    out.push(length as u8);
    out.extend_from_slice(value);
}
