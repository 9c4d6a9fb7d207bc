//! The columns of a Parquet file as a table has them: the fields of a group by the names of both, a list as one column,
//! and the group of an image file's bytes and path as the bytes alone.

use ::parquet::basic::{ConvertedType, LogicalType, Type as Physical};
use ::parquet::schema::types::{ColumnDescriptor, SchemaDescriptor, Type};

/// A column of a table.
#[derive(Clone, Debug)]
pub(super) struct Leaf {
    /// Index of the column in the file.
    pub(super) index: usize,
    pub(super) name: String,
    pub(super) kind: Kind,
    /// Greatest definition level: a smaller one means that the value, or a list around it, is null or empty.
    pub(super) defined: i16,
    /// Number of lists around the value.
    pub(super) lists: i16,
    /// The type for errors.
    pub(super) type_name: String,
}

/// What the values of a column mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Truth,
    Whole,
    Unsigned,
    Number,
    Half,
    /// A whole number of units of ten to the power of minus this scale.
    Decimal(i32),
    Text,
    Binary,
    /// Dates, times, identifiers and what else is neither number nor text.
    Other,
}

/// The columns of a file, in its order.
pub(super) fn leaves(schema: &SchemaDescriptor) -> Vec<Leaf> {
    let mut walk = Walk { schema, index: 0, found: Vec::new() };
    for field in schema.root_schema().get_fields() {
        walk.visit(field, field.name().to_owned());
    }
    walk.found
}

/// Goes through the schema in the order of its columns.
struct Walk<'a> {
    schema: &'a SchemaDescriptor,
    /// Index of the next column.
    index: usize,
    found: Vec<Leaf>,
}

impl Walk<'_> {
    fn visit(&mut self, node: &Type, name: String) {
        if node.is_primitive() {
            let column = self.schema.column(self.index);
            self.found.push(Leaf::new(self.index, name, &column));
            self.index += 1;
            return;
        }
        let fields = node.get_fields();
        match fields {
            // The element of a list stands within a repeated group, or is itself repeated as older programs write it.
            [repeated] if is_list(node) && repeated.is_group() && repeated.get_fields().len() == 1 => {
                self.visit(&repeated.get_fields()[0], name);
            }
            [element] if is_list(node) => self.visit(element, name),
            _ => self.visit_fields(fields, &name),
        }
    }

    fn visit_fields(&mut self, fields: &[std::sync::Arc<Type>], name: &str) {
        let is_file = fields.iter().any(|field| field.name() == "bytes")
            && fields.iter().all(|field| field.is_primitive() && ["bytes", "path"].contains(&field.name()));
        for field in fields {
            match field.name() {
                "bytes" if is_file => self.visit(field, name.to_owned()),
                // The name that the file of the bytes once had.
                "path" if is_file => self.index += 1,
                own => self.visit(field, format!("{name}.{own}")),
            }
        }
    }
}

fn is_list(node: &Type) -> bool {
    let info = node.get_basic_info();
    matches!(info.logical_type_ref(), Some(LogicalType::List)) || info.converted_type() == ConvertedType::LIST
}

impl Leaf {
    fn new(index: usize, name: String, column: &ColumnDescriptor) -> Self {
        let (kind, lists) = (Kind::of(column), column.max_rep_level());
        let type_name = "list of ".repeat(lists.max(0) as usize) + &type_name(column, kind);
        Self { index, name, kind, defined: column.max_def_level(), lists, type_name }
    }

    /// Whether the values are numbers, truth values or texts.
    pub(super) fn is_value(&self) -> bool {
        self.lists == 0 && !matches!(self.kind, Kind::Binary | Kind::Other)
    }

    /// Whether the values may be images: bytes of files, names of files, or pixels.
    pub(super) fn is_image(&self) -> bool {
        let is_pixel = !matches!(self.kind, Kind::Other | Kind::Truth);
        is_pixel
            && if self.lists == 0 { matches!(self.kind, Kind::Binary | Kind::Text) } else { self.lists <= 3 }
    }

    /// Describes a row of the column, for errors.
    pub(super) fn place(&self, row: u64) -> String {
        format!("row {row}, column {:?}", self.name)
    }
}

impl Kind {
    fn of(column: &ColumnDescriptor) -> Self {
        let (logical, converted) = (column.logical_type_ref(), column.converted_type());
        let is_decimal =
            matches!(logical, Some(LogicalType::Decimal(_))) || converted == ConvertedType::DECIMAL;
        match (column.physical_type(), logical, converted) {
            (Physical::BOOLEAN, _, _) => Self::Truth,
            (Physical::FLOAT | Physical::DOUBLE, _, _) => Self::Number,
            (Physical::INT96, _, _) => Self::Other,
            _ if is_decimal => Self::Decimal(column.type_scale()),
            (Physical::INT32 | Physical::INT64, logical, converted) => Self::whole(logical, converted),
            (Physical::FIXED_LEN_BYTE_ARRAY, Some(LogicalType::Float16), _) => Self::Half,
            (Physical::FIXED_LEN_BYTE_ARRAY, None, ConvertedType::NONE) => Self::Binary,
            (Physical::FIXED_LEN_BYTE_ARRAY, _, _) => Self::Other,
            (Physical::BYTE_ARRAY, Some(LogicalType::String | LogicalType::Enum | LogicalType::Json), _)
            | (Physical::BYTE_ARRAY, None, ConvertedType::UTF8 | ConvertedType::ENUM | ConvertedType::JSON) => {
                Self::Text
            }
            (Physical::BYTE_ARRAY, None, ConvertedType::NONE) => Self::Binary,
            (Physical::BYTE_ARRAY, _, _) => Self::Other,
        }
    }

    fn whole(logical: Option<&LogicalType>, converted: ConvertedType) -> Self {
        use ConvertedType as C;
        match (logical, converted) {
            (Some(LogicalType::Integer(integer)), _) if !integer.is_signed => Self::Unsigned,
            // A column of which no value is known has the logical type «unknown».
            (Some(LogicalType::Integer(_) | LogicalType::Unknown), _) => Self::Whole,
            (None, C::UINT_8 | C::UINT_16 | C::UINT_32 | C::UINT_64) => Self::Unsigned,
            (None, C::NONE | C::INT_8 | C::INT_16 | C::INT_32 | C::INT_64) => Self::Whole,
            _ => Self::Other,
        }
    }
}

/// The type for errors: the physical one, or what it stands for where that matters.
fn type_name(column: &ColumnDescriptor, kind: Kind) -> String {
    let (logical, converted) = (column.logical_type_ref(), column.converted_type());
    match kind {
        Kind::Other if converted != ConvertedType::NONE => converted.to_string(),
        Kind::Other if logical.is_some() => {
            let name = logical.map(|logical| format!("{logical:?}")).unwrap_or_default();
            name.split(|c: char| !c.is_ascii_alphanumeric()).next().unwrap_or_default().to_uppercase()
        }
        Kind::Text => "text".to_owned(),
        _ => column.physical_type().to_string(),
    }
}

#[cfg(test)]
mod tests;
