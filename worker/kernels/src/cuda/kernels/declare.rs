//! Turns a kernel's declaration into a function that checks its arguments and launches it.
//!
//! ```text
//! source {
//!     safe fn name<N>(x: In<N> [rows, columns], y: Out<N> [rows, columns], rows: Long, columns: Int)
//!         on Grid::over(rows * columns), if columns > 0;
//! }
//! ```
//!
//! declares the kernel `name` of `source.cu`; with `<N>` its two instances `name_f32` and `name_bf16`. The arguments are in
//! the kernel's order:
//!
//! | argument | in the kernel | of the function |
//! |---|---|---|
//! | `In<E> [extents]` | `const E*`, that many elements are read | `View<'_, E>` |
//! | `MaybeIn<E> [extents]` | the same, or null | `Option<View<'_, E>>` |
//! | `InOut<E> [extents]` | `E*`, read and written | `&mut CudaSlice<E>` |
//! | `Out<E> [extents]` | `E*`, that many elements are written, and all of them | a result, `CudaSlice<E>` |
//! | `MaybeOut<E> [extents]` | the same, or null | `bool`, whether it is wanted, and `Option<CudaSlice<E>>` |
//! | `Int`, `Long` | `int`, `long long` | `usize` |
//! | `Flag` | `int` | `bool` |
//! | `Code` | `int` | `i32` |
//! | `Float`, `Double` | `float`, `double` | `f32`, `f64` |
//! | `Windows` | `Windows` | `PoolWindows` |
//! | `Extent` | nothing: the grid says it | `usize` |
//!
//! A `safe fn` is one whose declaration describes everything that the kernel accesses: the function checks that memory
//! is as large as the extents say, that it belongs to the GPU's stream, and the condition after `if`. An `unsafe fn` is
//! for kernels whose addresses or indices come from memory.

/// Declares the functions of all kernels, and the list of the kernels' names.
macro_rules! kernels {
    ($($source:ident { $(
        $(#[$meta:meta])*
        $safety:ident fn $name:ident $(<$number:ident>)? ($($arguments:tt)*)
            on $grid:expr $(, if $condition:expr)?;
    )* })*) => {
        #[allow(clippy::wildcard_imports, reason = "what declarations are made of")]
        use super::*;
        use crate::cuda::{Number, View};

        /// The kernels of each source, each with its one or two instances.
        pub(super) const DECLARED: &[(&str, &[&[&str]])] =
            &[$((stringify!($source), &[$(instances!($name $($number)?)),*])),*];

        $($(
            function! {
                @next gpu [$(#[$meta])*] [$safety] [$name $($number)?] [$grid] [$($condition)?]
                [] [] [] [] [] $($arguments)*,
            }
        )*)*
    };
}

/// The names of a kernel's instances.
macro_rules! instances {
    ($name:ident) => {
        &[stringify!($name)]
    };
    ($name:ident $number:ident) => {
        &[concat!(stringify!($name), "_f32"), concat!(stringify!($name), "_bf16")]
    };
}

/// The name of the instance that is launched.
macro_rules! instance {
    ($name:ident) => {
        stringify!($name)
    };
    ($name:ident $number:ident) => {
        match $number::DTYPE {
            DType::F32 => concat!(stringify!($name), "_f32"),
            DType::Bf16 => concat!(stringify!($name), "_bf16"),
        }
    };
}

/// Rust type of a scalar parameter, and its conversion to the kernel's argument.
macro_rules! scalar {
    (@type Int) => {
        usize
    };
    (@argument Int $x:ident) => {
        Argument::int($x)?
    };
    (@type Long) => {
        usize
    };
    (@argument Long $x:ident) => {
        Argument::long($x)?
    };
    (@type Flag) => {
        bool
    };
    (@argument Flag $x:ident) => {
        Argument::Int($x.into())
    };
    (@type Code) => {
        i32
    };
    (@argument Code $x:ident) => {
        Argument::Int($x)
    };
    (@type Float) => {
        f32
    };
    (@argument Float $x:ident) => {
        Argument::Float($x)
    };
    (@type Double) => {
        f64
    };
    (@argument Double $x:ident) => {
        Argument::Double($x)
    };
    (@type Windows) => {
        PoolWindows
    };
    (@argument Windows $x:ident) => {
        Argument::Windows($x)
    };
}

/// Parses one argument after the other and collects the function's parameters, the statements before the launch, the
/// kernel's arguments, the results and their types; then generates the function.
macro_rules! function {
    (@next $gpu:ident [$($meta:tt)*] [safe] [$name:ident $($number:ident)?] [$grid:expr] [$($condition:expr)?]
     [$($parameters:tt)*] $before:tt $given:tt $results:tt [$([$type:ty])*] $(,)?) => {
        $($meta)*
        ///
        /// # Errors
        /// When an argument is not as declared, or the driver refuses.
        #[allow(unsafe_code, reason = "the declaration says all that the kernel touches")]
        #[allow(clippy::too_many_arguments, reason = "they are the kernel's")]
        #[allow(unused_parens, reason = "one result stands for itself, several are a tuple")]
        pub(crate) fn $name $(<$number: Number>)? ($gpu: &Gpu, $($parameters)*) -> Result<($($type),*)> {
            function! { @body $gpu [$name $($number)?] [$grid] [$($condition)?] $before $given $results }
        }
    };
    (@next $gpu:ident [$($meta:tt)*] [unsafe] [$name:ident $($number:ident)?] [$grid:expr] [$($condition:expr)?]
     [$($parameters:tt)*] $before:tt $given:tt $results:tt [$([$type:ty])*] $(,)?) => {
        $($meta)*
        ///
        /// # Errors
        /// When an argument is not as declared, or the driver refuses.
        #[allow(unsafe_code, reason = "the kernel believes addresses or indices that lie in memory")]
        #[allow(clippy::too_many_arguments, reason = "they are the kernel's")]
        #[allow(unused_parens, reason = "one result stands for itself, several are a tuple")]
        pub(crate) unsafe fn $name $(<$number: Number>)? ($gpu: &Gpu, $($parameters)*) -> Result<($($type),*)> {
            function! { @body $gpu [$name $($number)?] [$grid] [$($condition)?] $before $given $results }
        }
    };
    (@body $gpu:ident [$name:ident $($number:ident)?] [$grid:expr] [$($condition:expr)?]
     [$($before:tt)*] [$($given:tt)*] [$($result:ident)*]) => {{
        $(if !$condition {
            candle_core::bail!("{}: expected {}", stringify!($name), stringify!($condition));
        })?
        $($before)*
        let (kernel, grid) = (instance!($name $($number)?), $grid?);
        // SAFETY: the arguments are those of the declaration, which a test compares with the source. The memory is as
        // large as the declaration says that the kernel accesses, and is freed in the order of the GPU's stream.
        unsafe { $gpu.kernels().launch(kernel, grid, &[$($given)*]) }?;
        Ok(($($result),*))
    }};
    (@next $gpu:ident $meta:tt $safety:tt $name:tt $grid:tt $if:tt
     [$($parameters:tt)*] [$($before:tt)*] [$($given:tt)*] [$($results:tt)*] [$($types:tt)*]
     $x:ident: In<$e:ident> [$($extent:expr),*], $($rest:tt)*) => {
        function! { @next $gpu $meta $safety $name $grid $if
            [$($parameters)* $x: View<'_, $e>,]
            [$($before)* $x.expect($gpu, elements(&[$($extent),*])?)?;]
            [$($given)* Argument::Pointer($x.address()),]
            [$($results)* ] [$($types)* ] $($rest)* }
    };
    (@next $gpu:ident $meta:tt $safety:tt $name:tt $grid:tt $if:tt
     [$($parameters:tt)*] [$($before:tt)*] [$($given:tt)*] [$($results:tt)*] [$($types:tt)*]
     $x:ident: MaybeIn<$e:ident> [$($extent:expr),*], $($rest:tt)*) => {
        function! { @next $gpu $meta $safety $name $grid $if
            [$($parameters)* $x: Option<View<'_, $e>>,]
            [$($before)* if let Some($x) = &$x { $x.expect($gpu, elements(&[$($extent),*])?)?; }]
            [$($given)* Argument::Pointer($x.map_or(0, |$x| $x.address())),]
            [$($results)* ] [$($types)* ] $($rest)* }
    };
    (@next $gpu:ident $meta:tt $safety:tt $name:tt $grid:tt $if:tt
     [$($parameters:tt)*] [$($before:tt)*] [$($given:tt)*] [$($results:tt)*] [$($types:tt)*]
     $x:ident: InOut<$e:ident> [$($extent:expr),*], $($rest:tt)*) => {
        function! { @next $gpu $meta $safety $name $grid $if
            [$($parameters)* $x: &mut CudaSlice<$e>,]
            [$($before)* View::from(&*$x).expect($gpu, elements(&[$($extent),*])?)?;]
            [$($given)* Argument::Pointer(View::from(&*$x).address()),]
            [$($results)* ] [$($types)* ] $($rest)* }
    };
    (@next $gpu:ident $meta:tt $safety:tt $name:tt $grid:tt $if:tt
     [$($parameters:tt)*] [$($before:tt)*] [$($given:tt)*] [$($results:tt)*] [$($types:tt)*]
     $x:ident: Out<$e:ident> [$($extent:expr),*], $($rest:tt)*) => {
        function! { @next $gpu $meta $safety $name $grid $if
            [$($parameters)* ]
            [$($before)*
                // SAFETY: the kernel writes every element before the memory is handed out.
                let $x = unsafe { $gpu.uninitialized::<$e>(elements(&[$($extent),*])?) }?;]
            [$($given)* Argument::Pointer(View::from(&$x).address()),]
            [$($results)* $x] [$($types)* [CudaSlice<$e>]] $($rest)* }
    };
    (@next $gpu:ident $meta:tt $safety:tt $name:tt $grid:tt $if:tt
     [$($parameters:tt)*] [$($before:tt)*] [$($given:tt)*] [$($results:tt)*] [$($types:tt)*]
     $x:ident: MaybeOut<$e:ident> [$($extent:expr),*], $($rest:tt)*) => {
        function! { @next $gpu $meta $safety $name $grid $if
            [$($parameters)* $x: bool,]
            [$($before)*
                // SAFETY: the kernel writes every element before the memory is handed out.
                let $x = if $x {
                    Some(unsafe { $gpu.uninitialized::<$e>(elements(&[$($extent),*])?) }?)
                } else {
                    None
                };]
            [$($given)* Argument::Pointer($x.as_ref().map_or(0, |$x| View::from($x).address())),]
            [$($results)* $x] [$($types)* [Option<CudaSlice<$e>>]] $($rest)* }
    };
    (@next $gpu:ident $meta:tt $safety:tt $name:tt $grid:tt $if:tt
     [$($parameters:tt)*] [$($before:tt)*] [$($given:tt)*] [$($results:tt)*] [$($types:tt)*]
     $x:ident: Extent, $($rest:tt)*) => {
        function! { @next $gpu $meta $safety $name $grid $if
            [$($parameters)* $x: usize,]
            [$($before)* ]
            [$($given)* ]
            [$($results)* ] [$($types)* ] $($rest)* }
    };
    (@next $gpu:ident $meta:tt $safety:tt $name:tt $grid:tt $if:tt
     [$($parameters:tt)*] [$($before:tt)*] [$($given:tt)*] [$($results:tt)*] [$($types:tt)*]
     $x:ident: $class:ident, $($rest:tt)*) => {
        function! { @next $gpu $meta $safety $name $grid $if
            [$($parameters)* $x: scalar!(@type $class),]
            [$($before)* ]
            [$($given)* scalar!(@argument $class $x),]
            [$($results)* ] [$($types)* ] $($rest)* }
    };
}
