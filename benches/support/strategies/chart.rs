//! A plot: what it shows, and its drawing as SVG.
//!
//! The values of the horizontal axis are names at equal distances, since half of them are no numbers and the rest span
//! decades and have a zero. Colours are those of the light theme; a page gives other ones for the dark theme.

use std::fmt::Write as _;

use plotters::{
    chart::{ChartBuilder, ChartContext},
    coord::{Shift, cartesian::Cartesian2d, types::RangedCoordf64},
    drawing::{DrawingArea, IntoDrawingArea},
    element::{Circle, EmptyElement, PathElement, Polygon, Text},
    prelude::SVGBackend,
    style::{
        Color, FontTransform, IntoFont, RGBColor, ShapeStyle, TextStyle,
        text_anchor::{HPos, Pos, VPos},
    },
};

use super::{
    document::Table,
    figures::{ARMS, figure, number, ranged},
};
use crate::{Failure, support::rounds::Spread};

/// A plot.
#[derive(Debug, Clone)]
pub(crate) struct Chart {
    /// Its place in a page.
    pub(crate) id: &'static str,
    pub(crate) title: String,
    /// What the names below it are.
    pub(crate) x: &'static str,
    /// What its values are, with the unit.
    pub(crate) y: &'static str,
    /// What has to be known to read it.
    pub(crate) note: String,
    pub(crate) is_logarithmic: bool,
    /// Whether the names follow each other, so that a line between them means something.
    pub(crate) has_lines: bool,
    pub(crate) names: Vec<String>,
    pub(crate) series: Vec<Series>,
}

/// One candidate's values, one for each name.
#[derive(Debug, Clone)]
pub(crate) struct Series {
    pub(crate) arm: String,
    pub(crate) name: String,
    /// A second series of the same arm.
    pub(crate) is_hollow: bool,
    pub(crate) dots: Vec<Option<Dot>>,
}

/// A value.
#[derive(Debug, Clone)]
pub(crate) struct Dot {
    pub(crate) middle: f64,
    pub(crate) low: f64,
    pub(crate) high: f64,
    /// What it is, if it is no value that was found.
    pub(crate) instead: Option<String>,
}

impl Dot {
    pub(crate) fn of(spread: &Spread) -> Self {
        Self { middle: spread.median, low: spread.low, high: spread.high, instead: None }
    }

    pub(crate) fn single(middle: f64) -> Self {
        Self { middle, low: middle, high: middle, instead: None }
    }

    fn text(&self) -> String {
        match &self.instead {
            Some(text) => text.clone(),
            None if self.low < self.high => {
                ranged(&Spread { median: self.middle, low: self.low, high: self.high, rounds: Vec::new() })
            }
            None => figure(self.middle),
        }
    }
}

/// In the light and in the dark theme, for each arm of [`ARMS`] and for one that is not there.
pub(crate) const COLOURS: [(RGBColor, &str); 9] = [
    (RGBColor(0x00, 0x83, 0x01), "#2fa84f"),
    (RGBColor(0x2a, 0x78, 0xd6), "#5aa0f0"),
    (RGBColor(0x17, 0x9a, 0x8c), "#2fc4b2"),
    (RGBColor(0xd6, 0x36, 0x38), "#f07575"),
    (RGBColor(0xc9, 0x6a, 0x12), "#f0964a"),
    (RGBColor(0x6b, 0x4f, 0xc4), "#a596f5"),
    (RGBColor(0xc4, 0x3f, 0x84), "#ec7fb4"),
    (RGBColor(0x6e, 0x6e, 0x6a), "#a8a8a2"),
    (RGBColor(0x8a, 0x6d, 0x3b), "#cbb079"),
];

/// Of letters, and of the lines behind the values; in the light and in the dark theme.
pub(crate) const INK: (RGBColor, &str) = (RGBColor(0x33, 0x33, 0x30), "#d8d8d2");
pub(crate) const GRID: (RGBColor, &str) = (RGBColor(0xdd, 0xdd, 0xd8), "#40403c");

const WIDTH: u32 = 720;
const HEIGHT: u32 = 400;
/// Plotters makes them a fifth smaller.
const LETTERS: u32 = 18;

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Context<'a, 'b> = ChartContext<'a, SVGBackend<'b>, Cartesian2d<RangedCoordf64, RangedCoordf64>>;

/// How a colour stands in the drawing.
pub(crate) fn hex(colour: RGBColor) -> String {
    format!("#{:02X}{:02X}{:02X}", colour.0, colour.1, colour.2)
}

impl Series {
    /// A place in [`COLOURS`]; the marker follows from it too.
    pub(crate) fn place(&self) -> usize {
        ARMS.iter().position(|arm| *arm == self.arm).unwrap_or(COLOURS.len() - 1)
    }

    fn colour(&self) -> RGBColor {
        COLOURS[self.place()].0
    }
}

/// Around a value, in pixels; a circle has no corners.
pub(crate) fn corners(place: usize) -> Vec<(i32, i32)> {
    match place % 4 {
        0 => vec![(-4, -4), (4, -4), (4, 4), (-4, 4)],
        1 => Vec::new(),
        2 => vec![(0, -6), (5, 4), (-5, 4)],
        _ => vec![(0, -6), (6, 0), (0, 6), (-6, 0)],
    }
}

impl Chart {
    /// The numbers that it shows.
    pub(crate) fn numbers(&self) -> Table {
        let heads = self.names.iter().map(|name| format!("#{name}"));
        let mut table = Table::new(std::iter::once(self.x.to_owned()).chain(heads));
        for series in &self.series {
            let cells = series.dots.iter().map(|dot| dot.as_ref().map_or_else(|| "–".to_owned(), Dot::text));
            table.row(std::iter::once(series.name.clone()).chain(cells));
        }
        table
    }

    /// What it says to those who do not see it.
    pub(crate) fn words(&self) -> String {
        let mut words = format!("{}. {} by {}. ", self.title, self.y, self.x);
        for series in &self.series {
            let shown: Vec<String> = self
                .names
                .iter()
                .zip(&series.dots)
                .filter_map(|(name, dot)| {
                    dot.as_ref()
                        .map(|dot| format!("{name} {}", dot.instead.clone().unwrap_or_else(|| figure(dot.middle))))
                })
                .collect();
            // Writing into a string does not fail.
            let _ = write!(words, "{}: {}. ", series.name, shown.join(", "));
        }
        words.trim_end().to_owned()
    }

    /// The drawing. It stands in a page, so it names no namespace.
    pub(crate) fn svg(&self) -> Result<String, Failure> {
        let mut text = String::new();
        {
            let area = SVGBackend::with_string(&mut text, (WIDTH, HEIGHT)).into_drawing_area();
            self.draw(&area)?;
            area.present()?;
        }
        Ok(text.replacen(" xmlns=\"http://www.w3.org/2000/svg\"", "", 1))
    }

    fn draw(&self, area: &Area<'_>) -> Result<(), Failure> {
        let (low, high) = self.range();
        let right = number(self.names.len()) - 0.5;
        let mut context = ChartBuilder::on(area)
            .margin(12)
            .x_label_area_size(52)
            .y_label_area_size(72)
            .build_cartesian_2d(-0.5..right, self.scaled(low)..self.scaled(high))?;
        self.frame(area, &mut context, low, high)?;
        for (place, series) in self.series.iter().enumerate() {
            self.lines(&mut context, place, series)?;
        }
        for (place, series) in self.series.iter().enumerate() {
            self.dots(area, &mut context, place, series)?;
        }
        Ok(())
    }

    /// The grid, the names of its lines, and those of the axes.
    fn frame(&self, area: &Area<'_>, context: &mut Context<'_, '_>, low: f64, high: f64) -> Result<(), Failure> {
        let right = number(self.names.len()) - 0.5;
        let letters = |anchor| TextStyle::from(("sans-serif", LETTERS).into_font()).color(&INK.0).pos(anchor);
        for tick in self.ticks(low, high) {
            let y = self.scaled(tick);
            context.draw_series([PathElement::new([(-0.5, y), (right, y)], GRID.0)])?;
            let (left, at) = context.backend_coord(&(-0.5, y));
            let style = letters(Pos::new(HPos::Right, VPos::Center));
            area.draw(&Text::new(figure(tick), (left - 8, at), style))?;
        }
        let foot = self.scaled(low);
        for (place, name) in self.names.iter().enumerate() {
            let (at, bottom) = context.backend_coord(&(number(place), foot));
            let style = letters(Pos::new(HPos::Center, VPos::Top));
            area.draw(&Text::new(name.clone(), (at, bottom + 8), style))?;
        }
        context.draw_series([PathElement::new([(-0.5, foot), (right, foot)], INK.0)])?;
        let (middle, bottom) = context.backend_coord(&(f64::midpoint(-0.5, right), foot));
        let style = letters(Pos::new(HPos::Center, VPos::Top));
        area.draw(&Text::new(self.x, (middle, bottom + 32), style))?;
        let (_, half) = context.backend_coord(&(0.0, f64::midpoint(foot, self.scaled(high))));
        let turned = TextStyle::from(("sans-serif", LETTERS).into_font().transform(FontTransform::Rotate270));
        let style = turned.color(&INK.0).pos(Pos::new(HPos::Center, VPos::Top));
        Ok(area.draw(&Text::new(self.y, (6, half), style))?)
    }

    fn lines(&self, context: &mut Context<'_, '_>, place: usize, series: &Series) -> Result<(), Failure> {
        let style = series.colour().stroke_width(2);
        let at =
            |(i, dot): (usize, &Option<Dot>)| dot.as_ref().map(|dot| (self.across(i, place), self.scaled(dot.middle)));
        let points: Vec<Option<(f64, f64)>> = series.dots.iter().enumerate().map(at).collect();
        if self.has_lines {
            // A missing value is a gap.
            for stretch in points.split(Option::is_none).filter(|stretch| stretch.len() > 1) {
                let stretch: Vec<(f64, f64)> = stretch.iter().copied().flatten().collect();
                context.draw_series([PathElement::new(stretch, style)])?;
            }
        }
        for (i, dot) in series.dots.iter().enumerate() {
            let Some(dot) = dot.as_ref().filter(|dot| dot.low < dot.high) else { continue };
            let x = self.across(i, place);
            let ends = [(x, self.scaled(dot.low)), (x, self.scaled(dot.high))];
            context.draw_series([PathElement::new(ends, series.colour().stroke_width(1))])?;
        }
        Ok(())
    }

    fn dots(
        &self,
        area: &Area<'_>,
        context: &mut Context<'_, '_>,
        place: usize,
        series: &Series,
    ) -> Result<(), Failure> {
        let colour = series.colour();
        for (i, dot) in series.dots.iter().enumerate() {
            let Some(dot) = dot else { continue };
            let at = (self.across(i, place), self.scaled(dot.middle));
            let corners = corners(series.place());
            let is_hollow = series.is_hollow || dot.instead.is_some();
            let line = colour.stroke_width(2);
            let filled = ShapeStyle::from(colour).filled();
            match (corners.first().copied(), is_hollow) {
                (None, hollow) => {
                    let style = if hollow { line } else { filled };
                    context.draw_series([EmptyElement::at(at) + Circle::new((0, 0), 5, style)])?;
                }
                (Some(_), false) => {
                    context.draw_series([EmptyElement::at(at) + Polygon::new(corners, filled)])?;
                }
                (Some(first), true) => {
                    let closed: Vec<(i32, i32)> = corners.into_iter().chain([first]).collect();
                    context.draw_series([EmptyElement::at(at) + PathElement::new(closed, line)])?;
                }
            }
            if dot.instead.is_some() {
                let (x, y) = context.backend_coord(&at);
                let style = TextStyle::from(("sans-serif", LETTERS).into_font()).color(&INK.0);
                let style = style.pos(Pos::new(HPos::Left, VPos::Center));
                area.draw(&Text::new("until expiry", (x + 10, y), style))?;
            }
        }
        Ok(())
    }

    /// Candidates stand beside each other, so that their spreads do not cover each other.
    fn across(&self, name: usize, series: usize) -> f64 {
        let all = number(self.series.len());
        let step = (0.7 / all).min(if self.has_lines { 0.045 } else { 0.09 });
        number(name) + (number(series) - (all - 1.0) / 2.0) * step
    }

    fn scaled(&self, value: f64) -> f64 {
        if self.is_logarithmic { value.max(f64::MIN_POSITIVE).log10() } else { value }
    }

    /// From below the least to above the most.
    fn range(&self) -> (f64, f64) {
        let dots = || self.series.iter().flat_map(|series| series.dots.iter().flatten());
        let most = dots().map(|dot| dot.high).fold(0.0, f64::max);
        if !self.is_logarithmic {
            return (0.0, if most > 0.0 { most * 1.08 } else { 1.0 });
        }
        let least = dots().map(|dot| dot.low).filter(|low| *low > 0.0).fold(f64::INFINITY, f64::min);
        if least.is_finite() { (least / 1.3, most * 1.3) } else { (0.1, 10.0) }
    }

    /// Round values between.
    fn ticks(&self, low: f64, high: f64) -> Vec<f64> {
        if self.is_logarithmic {
            let steps: &[f64] = if high / low > 2e3 { &[1.0] } else { &[1.0, 2.0, 5.0] };
            let decades = std::iter::successors(Some(10_f64.powf(low.log10().floor())), |decade| Some(decade * 10.0));
            let decades = decades.take_while(|decade| *decade <= high);
            let ticks = decades.flat_map(|decade| steps.iter().map(move |step| decade * step));
            return ticks.filter(|tick| (low..=high).contains(tick)).collect();
        }
        let rough = high / 6.0;
        let decade = 10_f64.powf(rough.log10().floor());
        let step = [1.0, 2.0, 2.5, 5.0, 10.0].into_iter().map(|step| step * decade).find(|step| *step >= rough);
        let step = step.unwrap_or(rough);
        std::iter::successors(Some(0.0), |tick| Some(tick + step)).take_while(|tick| *tick <= high).collect()
    }
}
